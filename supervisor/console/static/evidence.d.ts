// Shapes of the answers about events, exits, heaps and plans, for the check alone; see types.d.ts.

declare namespace Api {
  interface Delivery {
    id: string
    connection: string
    state: 'pending' | 'finished' | 'dead'
    outcome: string | null
    attempts: number
    last_error: string | null
    waiting_for: string | null
    next_attempt_at: string | null
    /** what went wrong with it, oldest first */
    history: Attempt[]
  }

  /** An attempt that went wrong, or what was done since a worker died with the event. */
  interface Attempt extends Omit<Sample, 'outcome' | 'size_bytes'> {
    outcome: Sample['outcome'] | 'suspected' | 'tried' | 'innocent' | 'released'
    size_bytes: number | null
    issue: string | null
    /** of the worker that died with it */
    exit: string | null
  }

  interface EventRecord {
    message_id: string
    source: string
    received_at: string
    body: string | null
    deliveries: Delivery[]
  }
  interface FoundEvent extends EventRecord {
    others: EventRecord[]
    attempts_since: string | null
    attempts_forgotten: number
    attempts_not_kept: string | null
  }

  interface SchemaPath {
    path: string
    present: number
    types: Record<string, number>
    distinct: number
    examples: string[]
    first_seen: string
    last_seen: string
  }

  interface SchemaName {
    type: string
    name: string
    seen: number
    first_seen: string
    last_seen: string
    paths: SchemaPath[]
    more_paths: number
  }

  interface Schema {
    source: string
    looked_at: number
    names: SchemaName[]
    more_names: number
    violations: unknown[]
  }

  interface Usage {
    user_s: number
    system_s: number
    max_rss_bytes: number
    major_faults: number
    blocks_in: number
    blocks_out: number
    preempted: number
  }

  interface HeldBatch {
    batch: number
    connection: string
    events: number
    delivered: number
    failed: number
    retried: number
    given_back: number
    sent_again: number
    tried_alone: number
    tried_together: number
    postponed: number
    quarantined: number
    is_probe: boolean
  }

  interface Certificate extends Exit {
    pid: number | null
    destination: string | null
    connections: string[]
    event: string | null
    events: string[]
    unreported: number
    uptime_s: number
    usage: Usage | null
    stacks: string | null
    snapshot: string | null
    stacks_text?: string | null
    open_connections?: Record<string, number>
    open_curve?: Points
    batches?: HeldBatch[]
    more_batches?: number
  }

  interface Exits {
    exits: Certificate[]
    next: string | null
  }

  interface Snapshot {
    name: string
    worker: string
    pool: string
    pid: number
    format: string
    reason: string
    at: string
    size_bytes: number
    pause_s: number
    connection: string | null
  }

  interface ClassRow {
    kind: string
    objects: number
    bytes: number
  }

  interface Suspect {
    what: string
    objects: number
    bytes: number
    share: number
    path: string
    accumulation: string
    holds: ClassRow[]
    module: string | null
    connection: string | null
    id: number
  }

  /** Label, class, bytes, objects, cells, id. */
  type Cell = [string, string, number, number, Cell[], number | null]

  interface HeapReport {
    about: { notes?: string[] }
    objects: number
    bytes: number
    suspects: Suspect[]
    by_class: ClassRow[]
    picture: Cell
  }

  interface HeapObject {
    id: number
    type: string
    name: string
    size_bytes: number
    kept_bytes: number
  }
  interface HeapStep {
    label: string
    id: number
    type: string
    name: string
  }

  interface HeapPage extends HeapObject {
    edges: { label: string; to: HeapObject }[]
    edges_total: number
    holders: { label: string; from: HeapObject }[]
    holders_total: number
    dominated: HeapObject[]
    dominated_total: number
    path: HeapStep[]
    path_left_out?: number
  }

  interface HeapFound {
    found: HeapObject[]
    more: number
  }

  interface HeapDifference {
    classes: { type: string; count_old: number; count_new: number; bytes_old: number; bytes_new: number }[]
    held_by: unknown[]
  }

  interface Changes {
    pools: { replaced: string[]; new: string[]; gone: string[] }
    connections: {
      new: string[]
      changed: { name: string; keys: string[] }[]
      gone: { name: string; pending: number }[]
    }
    sources: Record<string, unknown>
    needs_restart: string[]
  }

  interface Plan extends Changes {
    differs: boolean
    errors: string[]
    read_at: string
  }
  interface Reloaded {
    reloaded: boolean
    errors: string[]
    changes: Changes | null
  }
}
