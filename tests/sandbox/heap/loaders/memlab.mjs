// Opens a snapshot in memlab, and prints what it says of it as JSON: node memlab.mjs FILE
import analysis from '@memlab/heap-analysis'

const snapshot = await analysis.getFullHeapFromFile(process.argv[2])
const found = { nodes: snapshot.nodes.length, edges: snapshot.edges.length, held: [] }
snapshot.nodes.forEach(node => {
  if (node.name !== 'known.Held') return
  // From the object to the root, the way that memlab finds by itself.
  const path = []
  for (let each = node; each?.pathEdge; each = each.pathEdge.fromNode) path.unshift(String(each.pathEdge.name_or_index))
  found.held.push({ id: node.id, self: node.self_size, retained: node.retainedSize, dominator: node.dominatorNode?.name, path })
})
console.log(JSON.stringify(found))
process.exit(0)
