// Shapes of the API's answers, for the check alone: no browser loads this file. Times are RFC 3339
// texts but in trends, where they are epoch seconds; sizes are bytes, durations seconds.

declare namespace Api {
  interface Me {
    role: 'viewer' | 'operator'
    name: string | null
    needs_login: boolean
    payloads: 'masked' | 'full' | 'none'
    version: string
    live_streams: number
  }

  interface Books {
    accepted: number
    delivered_first_try: number
    delivered_on_retry: number
    failed: number
    unsupported: number
    filtered: number
    quarantined: number
    pending: number
  }

  interface Action {
    label: string
    method: string
    path: string
    body?: unknown
  }

  interface Attention {
    kind: string
    severity: 'page' | 'ticket' | 'notice'
    subject: { type: 'connection' | 'pool' | 'source' | 'service'; name: string }
    text: string
    since: string | null
    link: string
    action: Action | null
  }

  interface PoolGlance {
    name: string
    state: string
    state_reason: string
    serving: number
    wanted: number
    spares: number
    apart: number
    rss_bytes: number
    exits_hour: number
  }

  interface SourceGlance {
    name: string
    received_per_s: number
    rejected_per_s: number
    rejected_share: number
    connections: number
  }

  interface Sources {
    sources: SourceGlance[]
    total: number
    matched: number
    next: string | null
  }

  interface Overview {
    at: string
    state: string
    version: string
    uptime_s: number
    books: Books
    hour: {
      from: string
      to: string
      received: number
      rejected: number
      delivered_first_try: number
      delivered_on_retry: number
      retries: number
      failed: number
      unsupported: number
      filtered: number
      quarantined: number
    }
    attention: Attention[]
    more_attention: number
    queues: {
      total: number
      by_state: Record<string, number>
      depth: number
      inflight: number
      oldest_s: number | null
    }
    pools: PoolGlance[]
    sources: SourceGlance[]
    more_sources: number
    store: Store
    sandbox: Record<string, string>
    plan_differs: boolean
  }

  interface Store {
    intake: string
    live_bytes: number
    max_bytes: number
    dead_letter_bytes: number
    dead_letters_dropped: number
    evicted: number
    files_missing: string
    log_held: string
  }

  interface Blame {
    standing: string
    on_trial: number
    score: number
    worker_deaths: number
    extra_executions: number
    quarantined: number
    trips: number
    workers_used_up: number
    hogged: number
    hogs: string
    apart: ApartWhy | null
  }

  interface ApartWhy {
    code: string
    text: string
    since: string
    exit: string | null
    on_trial: number
    batches_left: number
    events_left: number
    seconds_left: number
  }

  interface QueueStatus {
    connection: string
    source: string
    destination: string
    pool: string
    depth: number
    inflight: number
    oldest_s: number | null
    state: string
    state_reason: string
    next_attempt_in_s: number | null
    waiting_for: string
    concurrency: number
    batch_events: number
    egress_refused: number
    last_egress_refusal: string | null
    blame: Blame
    trips: number
    held_users: number
    held_deliveries: number
    held_s: number | null
    leak_bytes_per_event: number | null
    leaks_together_bytes_per_event: number | null
    credentials_refused: boolean
    proven_per_s: number
    retries_per_s: number
  }

  interface Queues {
    queues: QueueStatus[]
    total: number
    matched: number
    next: string | null
  }

  interface Connection {
    queue: QueueStatus
    settings: Record<string, unknown>
    config: Record<string, unknown>
    destination: { name: string; class: string; description: string }
    blame: Blame
  }

  interface Source {
    name: string
    connections: string[]
    config: Record<string, unknown>
    received_per_s: number
    rejected_per_s: number
  }

  interface Batch {
    connection: string
    events: number
    since_s: number
    step: string | null
  }
  type Points = [number, number][]

  interface WorkerAtWork {
    id: string
    pid: number | null
    state: string
    rss_bytes: number
    uptime_s: number
    inflight_batches?: number
    events?: number
    restarts?: number
    last_exit?: { reason: string; detail: string; at: string; connection: string | null; exit: string | null } | null
    connection?: string
    batches: Batch[] | number
    memory_limit_bytes: number | null
    memory_soft_bytes: number | null
    lag_s: number | null
    open_connections: Record<string, number>
    open_curve: Points
    rss_curve: Points
    credits: number
    flags: string[]
    why: ApartWhy | null
    pool?: string
  }

  interface Exit {
    id: string
    at: string
    pool: string
    worker: string
    reason: string
    detail: string
    connection: string | null
    [more: string]: unknown
  }

  interface Pool {
    name: string
    state: string
    state_reason: string
    workers: WorkerAtWork[]
    spares: WorkerAtWork[]
    apart: WorkerAtWork[]
    loosened: string[]
    leaks_together: { connections: string[]; bytes_per_event: number; held_by: string | null }[]
    exits: Exit[]
    blame: (Blame & { connection: string })[]
  }

  type Column = (number | null)[]

  interface Trends {
    from: number
    to: number
    step_s: number
    reaches_back_to: number | null
    times: number[]
    columns: Record<string, Column>
    restart: number[]
    totals: Record<string, number | null>
  }

  interface Issue {
    id: string
    kind: 'failed' | 'retry' | 'quarantined' | 'rejected' | 'credentials'
    connection: string | null
    source: string | null
    cause: string
    count: number
    first_seen: string
    last_seen: string
    open: boolean
    meaning: string
    action: string
  }

  interface IssueDetail extends Issue {
    minutes: Points
    samples: Sample[]
  }
  interface Issues {
    issues: Issue[]
    next: string | null
    forgotten: number
  }

  interface Request {
    method: string
    url: string
    headers: Record<string, string>
    body: string | null
  }
  interface Answer {
    status: number
    headers: Record<string, string>
    body: string | null
  }

  interface Sample {
    n: number
    at: string
    source: string
    connection: string | null
    message_id: string | null
    type: string | null
    name: string | null
    outcome: 'taken' | 'repeat' | 'rejected' | 'retry' | 'failed' | 'quarantined' | 'delivered'
    code: string | null
    cause: string | null
    reason: string | null
    to: string[]
    unsupported: string[]
    filtered: string[]
    attempt: number | null
    worker: string | null
    body: string | null
    size_bytes: number
    request: Request | null
    answer: Answer | null
  }

  interface Tap {
    source: string
    seen: number
    kept: number
    rejected_seen: number
    rejected_kept: number
    sampled: number
    rejected_sampled: number
    lossy: boolean
    next: number
    rows: Sample[]
  }

  interface Letter {
    id: string
    connection: string
    message_id: string
    outcome: string
    reason: string
    attempts: number
    first_at: string | null
    last_at: string
    exit: string | null
    event?: unknown
  }

  interface Letters {
    deadletters: Letter[]
    next: string | null
  }

  interface Cause {
    connection: string
    outcome: string
    cause: string
    count: number
    first_at: string
    last_at: string
  }

  interface Causes {
    causes: Cause[]
    total: number
    more: number
  }
  interface Selected {
    matched: number
    done: number
  }

  interface Where {
    connection?: string
    outcome?: string
    error?: string
    cause?: string
    since?: string
    until?: string
    ids?: string[]
  }

  interface Job {
    id: string
    kind: 'replay' | 'drop'
    where: Where
    state: 'running' | 'done' | 'cancelled' | 'failed'
    matched: number | null
    done: number
    not_done: number
    per_s: number | null
    started_at: string
    ended_at: string | null
    by: string
    error: string | null
  }

  interface Tried {
    outcome: string
    detail: string
    requests: Request[]
    answers: Answer[]
    live: boolean
  }

  interface Act {
    at: string
    by: string
    role: string
    action: string
    on: string
    how_many: number | null
    note: string | null
  }

  interface Activity {
    activity: Act[]
    next: string | null
  }
}
