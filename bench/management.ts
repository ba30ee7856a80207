/** The management API of a proxy under test, over one kept connection. */
import { Agent, request } from 'node:https'

export class Management implements AsyncDisposable {
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 1, rejectUnauthorized: false })
  readonly #port: number
  readonly #token: string

  constructor(port: number, token: string) {
    this.#port = port
    this.#token = token
  }

  /** The answer's JSON as text. Rejects unless it is a 200 that everybody has confirmed. */
  ask(method: 'GET' | 'PUT', path: string): Promise<string> {
    return new Promise((resolve, reject) => {
      const headers = { authorization: `Bearer ${this.#token}`, accept: 'application/json' }
      const asked = request({ agent: this.#agent, host: '127.0.0.1', port: this.#port, path, method, headers }, (answer) => {
        let text = ''
        answer.on('data', (bytes: Buffer) => (text += bytes.toString()))
        const unconfirmed = answer.headers['signalbox-unconfirmed']
        const good = answer.statusCode === 200 && unconfirmed === undefined
        answer.on('end', () => (good ? resolve(text) : reject(new Error(`${answer.statusCode}: ${text}; not confirmed: ${String(unconfirmed)}`))))
      })
      asked.on('error', reject)
      asked.end()
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#agent.destroy()
  }
}
