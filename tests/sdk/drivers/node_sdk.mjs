// Sends mixed events with a Node.js SDK, as a customer's program would, and exits 0 once sent.
// `node node_sdk.mjs PACKAGE HOST WRITE_KEY COUNT`. Must not touch the SDK.

const [packageName, host, writeKey, count] = process.argv.slice(2)
const sdk = await import(packageName)

const errors = []

function connect() {
  switch (packageName) {
    case '@segment/analytics-node':
    case '@customerio/cdp-analytics-node': {
      const client = new sdk.Analytics({ writeKey, host })
      client.on('error', (error) => errors.push(error))
      return { client, finish: () => client.closeAndFlush() }
    }
    case '@rudderstack/rudder-sdk-node': {
      // It compiles to CommonJS, so its class may be the default export's default.
      const Client = sdk.default.default ?? sdk.default
      const client = new Client(writeKey, {
        dataPlaneUrl: host,
        errorHandler: (error) => errors.push(error),
      })
      // One flush sends one request of at most `flushAt` events.
      const finish = async () => {
        do await client.flush()
        while (client.queue.length > 0)
        await client.flush()
      }
      return { client, finish }
    }
    default:
      throw new Error(`no driver for ${packageName}`)
  }
}

const { client, finish } = connect()
const calls = [
  (n) => client.identify({ userId: `user-${n}`, traits: { email: `user${n}@example.com` } }),
  (n) => client.track({ userId: `user-${n}`, event: 'Order Completed', properties: { revenue: n / 100 } }),
  (n) => client.page({ userId: `user-${n}`, name: 'Start', properties: { url: 'https://example.com/start' } }),
  (n) => client.screen({ userId: `user-${n}`, name: 'Inbox', properties: { unread: n } }),
  (n) => client.group({ userId: `user-${n}`, groupId: `group-${n % 7}`, traits: { name: 'Größe & Co' } }),
  (n) => client.alias({ previousId: `anonymous-${n}`, userId: `user-${n}` }),
]
for (let number = 0; number < Number(count); number++) {
  calls[number % calls.length](number)
}
await finish()
if (errors.length > 0) {
  console.error(`${packageName} reported:`, errors)
  process.exit(1)
}
process.exit(0)
