/**
 * Backends of every protocol with a login that fail in each phase of the dialogue: fall silent, close, say goodbye, talk
 * nonsense, show a wrong certificate, inject behind STARTTLS. Each is the fault that it is, and never a wrong password.
 */
import assert from 'node:assert/strict'
import type { Socket } from 'node:net'
import { before, describe, test } from 'node:test'
import { TLSSocket, createSecureContext } from 'node:tls'
import { type Clock, systemClock } from '../../src/clock.ts'
import type { ProtocolName } from '../../src/config/config.ts'
import { BackendDialer } from '../../src/destination/dialer.ts'
import { asSignalboxError } from '../../src/errors.ts'
import { protocolByName } from '../../src/protocol/registry.ts'
import { makeAuthority } from '../support/certificates.ts'
import type { Issued } from '../support/certificates.ts'
import { loginOf, requestOf, serverConfigOf, talkServer } from '../support/fake-backend.ts'
import type { TalkServer } from '../support/fake-backend.ts'
import { FakeClock } from '../support/fake-clock.ts'

interface Script {
  readonly protocol: ProtocolName
  /** The greeting, then the answer to each line of ours, up to the login's. The last one lets in. */
  readonly answers: readonly string[]
  readonly goodbye: string
  /** What a goodbye in answer to the login is; POP3 has no word of its own for it. */
  readonly goodbyeToLogin: 'BACKEND_CLOSED' | 'refused'
  /** With STARTTLS offered: the greeting, the answers up to the go-ahead. */
  readonly upTo: readonly string[]
}

const SCRIPTS: readonly Script[] = [
  {
    protocol: 'imap',
    answers: ['* OK hi\r\n', '* CAPABILITY AUTH=PLAIN SASL-IR\r\nS2 OK\r\n', 'S4 OK in\r\n'],
    goodbye: '* BYE going down\r\n',
    goodbyeToLogin: 'BACKEND_CLOSED',
    upTo: ['* OK [CAPABILITY STARTTLS] hi\r\n', 'S1 OK go\r\n'],
  },
  {
    protocol: 'pop3',
    answers: ['+OK hi\r\n', '+OK\r\nSASL PLAIN\r\n.\r\n', '+OK in\r\n'],
    goodbye: '-ERR going down\r\n',
    goodbyeToLogin: 'refused',
    upTo: ['+OK hi\r\n', '+OK\r\nSTLS\r\n.\r\n', '+OK go\r\n'],
  },
  {
    protocol: 'managesieve',
    answers: ['"SASL" "PLAIN"\r\nOK "hi"\r\n', 'OK "in"\r\n'],
    goodbye: 'BYE (TRYLATER) "going down"\r\n',
    goodbyeToLogin: 'BACKEND_CLOSED',
    upTo: ['"STARTTLS"\r\nOK "hi"\r\n', 'OK "go"\r\n'],
  },
  {
    protocol: 'submission',
    answers: ['220 hi\r\n', '250-x\r\n250 AUTH PLAIN\r\n', '235 2.7.0 in\r\n'],
    goodbye: '421 4.3.2 going down\r\n',
    goodbyeToLogin: 'BACKEND_CLOSED',
    upTo: ['220 hi\r\n', '250-x\r\n250 STARTTLS\r\n', '220 go\r\n'],
  },
]

/** Says the greeting, then an answer a line, and at `phase` does `act` instead. */
async function server(answers: readonly string[], phase: number, act: (socket: Socket) => void): Promise<TalkServer> {
  return talkServer({
    take: (socket) => {
      let at = 0
      const step = (): void => {
        const answer = answers[at]
        if (at++ === phase) act(socket)
        else if (answer !== undefined) socket.write(answer)
      }
      socket.on('data', step)
      step()
    },
  })
}

/** Of the dial, and of the login: far above what anything here takes, where something is said. */
const PATIENCE_MS = 20_000

/** How a dial and a login there end. */
async function outcomeOf(at: TalkServer, name: ProtocolName, tls: 'plain' | 'starttls' = 'plain', clock: Clock = systemClock): Promise<string> {
  const protocol = protocolByName(name)
  assert.ok(protocol?.kind === 'login')
  const dialer = new BackendDialer({
    server: serverConfigOf({ backendConnectRetries: 0, backendTimeout: PATIENCE_MS }),
    clock,
    report: () => {},
  })
  try {
    const leg = { protocol: name, port: at.port, tls, forwarding: 'none' } as const
    const request = { ...requestOf(at.port, tls, { legs: { [name]: leg } }, { protocol }), leg }
    const backend = await dialer.dial(request, new AbortController().signal)
    try {
      const { kind } = await backend.replay({ ...loginOf('joe'), facts: { tag: 'a' } })
      return kind
    } finally {
      backend.destroy()
    }
  } catch (thrown) {
    return asSignalboxError(thrown).code
  } finally {
    await at.close()
  }
}

for (const { protocol, answers, goodbye, goodbyeToLogin, upTo } of SCRIPTS) {
  describe(`a backend that fails: ${protocol}`, () => {
    let issued: Issued

    before(async () => {
      issued = await (await makeAuthority()).issue({ names: ['wrong.example.com'] })
    })

    const last = answers.length - 1
    const phases = answers.map((_, phase) => phase)

    test('lets in where nothing fails', async () => {
      assert.equal(await outcomeOf(await server(answers, -1, () => {}), protocol), 'accepted')
    })

    for (const phase of phases) {
      const words = ['the greeting', ...answers.slice(1, -1).map(() => 'an answer before the login'), 'the answer to the login']
      const where = words[phase]

      test(`says nothing for ${where}`, async () => {
        const clock = new FakeClock()
        const silent = await server(answers, phase, () => clock.advance(PATIENCE_MS))
        assert.equal(await outcomeOf(silent, protocol, 'plain', clock), phase === last ? 'BACKEND_REPLAY_TIMEOUT' : 'BACKEND_TIMEOUT')
      })

      test(`closes instead of ${where}, politely or not`, async () => {
        assert.equal(await outcomeOf(await server(answers, phase, (socket) => socket.end()), protocol), 'BACKEND_CLOSED')
        const reset = await server(answers, phase, (socket) => socket.resetAndDestroy())
        // A reset right after the connection was accepted may be seen as one that came to nothing.
        const codes = phase === 0 ? ['BACKEND_CLOSED', 'BACKEND_CONNECT'] : ['BACKEND_CLOSED']
        assert.ok(codes.includes(await outcomeOf(reset, protocol)))
        const half = answers[phase]?.slice(0, 4) ?? ''
        assert.equal(await outcomeOf(await server(answers, phase, (socket) => socket.end(half)), protocol), 'BACKEND_CLOSED')
      })

      test(`talks nonsense for ${where}`, async () => {
        const nonsense = await server(answers, phase, (socket) => void socket.write('\u0000\u0001\u0002 HTTP/1.1\r\n'))
        assert.equal(await outcomeOf(nonsense, protocol), phase === 0 ? 'BACKEND_GREETING' : 'BACKEND_PROTOCOL')
      })
    }

    test('says goodbye instead of its greeting, and instead of the answer to a login', async () => {
      assert.equal(await outcomeOf(await server(answers, 0, (socket) => socket.end(goodbye)), protocol), 'BACKEND_GREETING')
      assert.equal(await outcomeOf(await server(answers, last, (socket) => socket.end(goodbye)), protocol), goodbyeToLogin)
    })

    test('has a certificate that nobody signed, behind STARTTLS', async () => {
      const goAhead = upTo.length - 1
      const wrong = await server(upTo, goAhead, (socket) => {
        socket.removeAllListeners('data')
        socket.write(upTo[goAhead] ?? '')
        const secured = new TLSSocket(socket, { isServer: true, secureContext: createSecureContext(issued) })
        secured.on('error', () => secured.destroy())
        secured.resume()
      })
      assert.equal(await outcomeOf(wrong, protocol, 'starttls'), 'BACKEND_CERTIFICATE')
    })

    test('injects behind STARTTLS, offers none, or refuses it', async () => {
      const goAhead = upTo.length - 1
      const injecting = await server(upTo, goAhead, (socket) => void socket.write(`${upTo[goAhead]}${answers[1]}`))
      assert.equal(await outcomeOf(injecting, protocol, 'starttls'), 'BACKEND_INJECTION')
      assert.equal(await outcomeOf(await server(answers, -1, () => {}), protocol, 'starttls'), 'BACKEND_PROTOCOL')
      const refusing = await server(upTo, goAhead, (socket) => void socket.write('nothing of the sort\r\n'))
      assert.equal(await outcomeOf(refusing, protocol, 'starttls'), 'BACKEND_PROTOCOL')
    })

  })
}
