// The container's health check: asks /healthz of the management API and ends with 0 when the process answers. Without a
// token: the route needs none. The certificate is not looked at: the question goes to this very container, carries no
// secret, and the answer opens nothing. SIGNALBOX_HEALTH overrides where it goes.
import { get } from 'node:https'

const PATIENCE_MS = 4_000
const target = process.env['SIGNALBOX_HEALTH'] ?? 'https://127.0.0.1:9443/healthz'

const asked = get(target, { rejectUnauthorized: false, agent: false, timeout: PATIENCE_MS }, (answer) => {
  answer.resume()
  process.exitCode = answer.statusCode === 200 ? 0 : 1
})
asked.on('timeout', () => asked.destroy(new Error('no answer')))
asked.on('error', (error) => {
  process.stderr.write(`${target}: ${error.message}\n`)
  process.exitCode = 1
})
