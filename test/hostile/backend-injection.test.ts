/** A backend leg on which somebody in the middle sends plaintext ahead of the TLS handshake. */
import assert from 'node:assert/strict'
import { afterEach, test } from 'node:test'
import { systemClock } from '../../src/clock.ts'
import type { DialOutcome } from '../../src/destination/backend.ts'
import { BackendDialer } from '../../src/destination/dialer.ts'
import { SignalboxError } from '../../src/errors.ts'
import type { LoginProtocol } from '../../src/protocol/protocol.ts'
import { requestOf, serverConfigOf, talk, talkServer, type TalkServer } from '../support/fake-backend.ts'

const servers: TalkServer[] = []
afterEach(async () => {
  for (const server of servers.splice(0)) await server.close()
})

/** Answers STARTTLS with `words`, each in a packet of its own, and hangs up at the ClientHello. */
async function injector(words: readonly string[]): Promise<TalkServer> {
  const server = await talkServer({
    take: (socket) => {
      socket.write('HELLO\n')
      socket.once('data', () => {
        for (const word of words) socket.write(word)
        socket.once('data', () => socket.end())
      })
    },
  })
  servers.push(server)
  return server
}

async function outcomeOf(server: TalkServer, protocol: LoginProtocol = talk): Promise<SignalboxError> {
  const outcomes: DialOutcome[] = []
  const dialer = new BackendDialer({
    server: serverConfigOf({ backendConnectRetries: 0 }),
    clock: systemClock,
    report: (_destination, _client, outcome) => outcomes.push(outcome),
  })
  const request = requestOf(server.port, 'starttls', { allowInvalidCerts: true }, { protocol })
  const error: unknown = await dialer.dial(request, new AbortController().signal).then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  assert.ok(error instanceof SignalboxError, 'the dial must fail')
  assert.equal(outcomes.length, 1)
  return error
}

/** Goes over to TLS at GO without a look at what stands behind it. */
const careless: LoginProtocol = {
  ...talk,
  backend: (port, options) => {
    const inner = talk.backend(port, options)
    return Object.assign(inner, {
      receive(chunk: Buffer) {
        if (chunk.toString().startsWith('GO')) port.startTls()
        else port.write(Buffer.from('STARTTLS\n'))
      },
    })
  },
}

test('bytes behind the go-ahead in one packet are the dialogue’s to refuse', async () => {
  const error = await outcomeOf(await injector(['GO\nYES come in\n']))
  assert.equal(error.code, 'BACKEND_INJECTION')
})

test('bytes that follow the go-ahead in packets of their own end the handshake, never reach the dialogue', async () => {
  const error = await outcomeOf(await injector(['GO\n', 'HELLO again\nYES come in\n']))
  assert.ok(['BACKEND_INJECTION', 'BACKEND_TLS'].includes(error.code), error.code)
})

test('even a careless dialogue is not fed with plaintext after the upgrade', async () => {
  const seen: string[] = []
  const watched: LoginProtocol = {
    ...talk,
    backend: (port, options) => {
      const inner = careless.backend(port, options)
      let upgraded = false
      return {
        start: () => inner.start(),
        receive(chunk) {
          if (upgraded) seen.push(chunk.toString())
          if (chunk.toString().startsWith('GO')) upgraded = true
          inner.receive(chunk)
        },
        secured: () => seen.push('secured'),
        replay: (login) => inner.replay(login),
        respond: (answer) => inner.respond(answer),
        capabilities: [],
      }
    },
  }
  for (const words of [['GO\nYES\n'], ['GO\n', 'YES\n'], ['GO\n', 'Y', 'E', 'S', '\n'.repeat(70_000)]]) {
    await outcomeOf(await injector(words), watched)
  }
  assert.deepEqual(seen, [])
})
