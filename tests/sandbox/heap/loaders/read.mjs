// What DevTools' loader says of a snapshot. Runs in Node.js and, as text, in Chromium: it may
// use nothing but its arguments.
export async function read({ HeapSnapshot, HeapSnapshotLoader }, text) {
  // What DevTools has in a second worker is done in this one, at the other end of a channel.
  const { port1, port2 } = new MessageChannel()
  new HeapSnapshot.SecondaryInitManager(port2)
  const loader = new HeapSnapshotLoader.HeapSnapshotLoader({ sendEvent() {} })
  for (let start = 0; start < text.length; start += 1 << 20) loader.write(text.slice(start, start + (1 << 20)))
  loader.close()
  const snapshot = await loader.buildSnapshot(port1)

  const found = { nodes: snapshot.nodeCount, total: snapshot.totalSize, held: [] }
  const node = snapshot.rootNode()
  for (let index = 0; index < snapshot.nodes.length; index += 7) {
    node.nodeIndex = index
    if (node.name() !== 'known.Held') continue
    const retainers = []
    for (const walk = node.retainers(); walk.hasNext(); walk.next()) {
      const edge = walk.item()
      retainers.push([edge.name(), edge.node().name()])
    }
    found.held.push({ id: node.id(), self: node.selfSize(), retained: node.retainedSize(), retainers })
  }
  return found
}
