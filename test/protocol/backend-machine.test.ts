/** What all dialogues with a backend have in common while a challenge is with the client. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { BackendOptions, BackendPort } from '../../src/protocol/protocol.ts'
import { protocolByName } from '../../src/protocol/registry.ts'
import { base64, tokenLogin } from './imap/profile.ts'

const OPTIONS: BackendOptions = { startTls: false, hideAuthErrors: false, announceClient: undefined, headerInClear: false, facts: { tag: 'a' } }

/** Up to the answer to a token; then a challenge, and a refusal. */
const SPEECH = {
  imap: { opening: '* OK [CAPABILITY SASL-IR AUTH=OAUTHBEARER] hi\r\n', asked: '', challenge: `+ ${base64('{}')}\r\n`, refusal: 'S4 NO bad\r\n' },
  pop3: { opening: '+OK hi\r\n', asked: '+OK\r\nSASL OAUTHBEARER\r\n.\r\n', challenge: `+ ${base64('{}')}\r\n`, refusal: '-ERR bad\r\n' },
  managesieve: { opening: '"SASL" "OAUTHBEARER"\r\nOK\r\n', asked: '', challenge: `"${base64('{}')}"\r\n`, refusal: 'NO "bad"\r\n' },
  submission: { opening: '220 hi\r\n', asked: '250-x\r\n250 AUTH OAUTHBEARER\r\n', challenge: `334 ${base64('{}')}\r\n`, refusal: '535 bad\r\n' },
} as const

for (const name of ['imap', 'pop3', 'managesieve', 'submission'] as const) {
  describe(name, () => {
    const { opening, asked, challenge, refusal } = SPEECH[name]

    function challenged() {
      const calls: string[] = []
      const port: BackendPort = {
        write: () => {},
        startTls: () => calls.push('startTls'),
        announced: () => calls.push('announced'),
        accepted: () => calls.push('accepted'),
        refused: ({ text }) => calls.push(`refused ${text?.toString('latin1')}`),
        challenge: (bytes) => calls.push(`challenge ${bytes.toString('latin1')}`),
        addressLost: () => calls.push('addressLost'),
        trouble: ({ code }) => calls.push(code),
      }
      const protocol = protocolByName(name)
      assert.ok(protocol?.kind === 'login')
      const dialogue = protocol.backend(port, OPTIONS)
      dialogue.start()
      dialogue.receive(Buffer.from(opening))
      if (asked !== '') dialogue.receive(Buffer.from(asked))
      dialogue.replay({ ...tokenLogin('OAUTHBEARER', 'n,,\u0001auth=Bearer t\u0001\u0001'), facts: { tag: 'a' } })
      dialogue.receive(Buffer.from(challenge))
      assert.deepEqual(calls.splice(0), ['announced', 'challenge {}'])
      return { dialogue, calls }
    }

    test('a backend that is tired of waiting for the client’s answer refuses, and the answer is not sent', () => {
      const { dialogue, calls } = challenged()
      dialogue.receive(Buffer.from(refusal))
      dialogue.respond(Buffer.from('late'))
      assert.equal(calls.length, 1)
      assert.match(calls[0] ?? '', /^refused .*bad/)
    })

    test('a second challenge before the client has answered the first is trouble', () => {
      const { dialogue, calls } = challenged()
      dialogue.receive(Buffer.from(challenge))
      assert.deepEqual(calls, ['BACKEND_PROTOCOL'])
    })

    test('the client answers once', () => {
      const { dialogue } = challenged()
      dialogue.respond(Buffer.from('\u0001'))
      assert.throws(() => dialogue.respond(Buffer.from('\u0001')), { code: 'INTERNAL' })
    })
  })
}
