/**
 * As much of each protocol as a login takes, from the client's side and from the server's; what both say once they are
 * bridged is the same everywhere (cargo.ts, house.ts). Pass-through protocols have no login: the server speaks, that's all.
 */
import type { Talk } from './talk.ts'

export type MailProtocol = 'imap' | 'pop3' | 'managesieve' | 'submission' | 'smtp' | 'lmtp'
export const MAIL_PROTOCOLS: readonly MailProtocol[] = ['imap', 'pop3', 'managesieve', 'submission', 'smtp', 'lmtp']

/** What came of a login. `busy`: told to come again later. */
export type Verdict = 'in' | 'busy' | 'refused'

interface ClientSide {
  /** From the connection to the verdict; rejects when the connection ends. */
  logIn(talk: Talk, user: string, startTls: (() => Promise<void>) | undefined): Promise<Verdict>
}

interface ServerSide {
  /** From the connection to the login; gives the account. */
  serve(talk: Talk): Promise<string>
}

const plain = (user: string): string => Buffer.from(`\0${user}\0secret`).toString('base64')
const userOf = (base64: string): string => Buffer.from(base64, 'base64').toString().split('\0')[1] ?? ''

export const CLIENTS: Readonly<Record<MailProtocol, ClientSide>> = {
  imap: {
    async logIn(talk, user, startTls) {
      if (!(await talk.line()).startsWith('* OK')) return 'busy'
      if (startTls !== undefined) {
        talk.write('s STARTTLS\r\n')
        await talk.until(/^s OK/)
        await startTls()
      }
      talk.write(`a LOGIN ${user} secret\r\n`)
      const answer = await talk.until(/^(a |\* BYE)/)
      return answer.startsWith('a OK') ? 'in' : /\[UNAVAILABLE\]|\[LIMIT\]/.test(answer) ? 'busy' : 'refused'
    },
  },
  pop3: {
    async logIn(talk, user, startTls) {
      if (!(await talk.line()).startsWith('+OK')) return 'busy'
      if (startTls !== undefined) {
        talk.write('STLS\r\n')
        await talk.until(/^\+OK/)
        await startTls()
      }
      talk.write(`AUTH PLAIN ${plain(user)}\r\n`)
      const answer = await talk.line()
      return answer.startsWith('+OK') ? 'in' : /SYS\/TEMP|IN-USE/.test(answer) ? 'busy' : 'refused'
    },
  },
  managesieve: {
    async logIn(talk, user, startTls) {
      if (!(await talk.until(/^(OK|NO|BYE)/)).startsWith('OK')) return 'busy'
      if (startTls !== undefined) {
        talk.write('STARTTLS\r\n')
        await talk.until(/^OK/)
        await startTls()
        await talk.until(/^OK/)
      }
      talk.write(`AUTHENTICATE "PLAIN" "${plain(user)}"\r\n`)
      const answer = await talk.until(/^(OK|NO|BYE)/)
      return answer.startsWith('OK') ? 'in' : /TRYLATER|BYE/.test(answer) ? 'busy' : 'refused'
    },
  },
  submission: {
    async logIn(talk, user, startTls) {
      if (!(await talk.line()).startsWith('220')) return 'busy'
      talk.write('EHLO chaos.example.com\r\n')
      await talk.until(/^250 /)
      if (startTls !== undefined) {
        talk.write('STARTTLS\r\n')
        await talk.until(/^220/)
        await startTls()
        talk.write('EHLO chaos.example.com\r\n')
        await talk.until(/^250 /)
      }
      talk.write(`AUTH PLAIN ${plain(user)}\r\n`)
      const answer = await talk.line()
      return answer.startsWith('235') ? 'in' : answer.startsWith('4') ? 'busy' : 'refused'
    },
  },
  smtp: { logIn: async (talk) => ((await talk.line()).startsWith('220') ? 'in' : 'busy') },
  lmtp: { logIn: async (talk) => ((await talk.line()).startsWith('220') ? 'in' : 'busy') },
}

const CAPABILITIES = 'CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN'

export const SERVERS: Readonly<Record<MailProtocol, ServerSide>> = {
  imap: {
    async serve(talk) {
      talk.write(`* OK [${CAPABILITIES}] ready\r\n`)
      for (;;) {
        const line = await talk.line()
        const [tag = '', command = '', first = '', second = ''] = line.split(' ')
        const user = /^LOGIN$/i.test(command) ? first.replaceAll('"', '') : /^AUTHENTICATE$/i.test(command) ? userOf(second) : undefined
        talk.write(`${/^CAPABILITY$/i.test(command) ? `* ${CAPABILITIES}\r\n` : ''}${tag} OK done\r\n`)
        if (user !== undefined) return user
      }
    },
  },
  pop3: {
    async serve(talk) {
      talk.write('+OK ready\r\n')
      for (;;) {
        const line = await talk.line()
        const [, base64] = /^AUTH PLAIN (\S+)/i.exec(line) ?? []
        talk.write(/^CAPA/i.test(line) ? '+OK\r\nSASL PLAIN\r\nUSER\r\n.\r\n' : '+OK\r\n')
        if (base64 !== undefined) return userOf(base64)
      }
    },
  },
  managesieve: {
    async serve(talk) {
      const capabilities = '"IMPLEMENTATION" "chaos"\r\n"SASL" "PLAIN"\r\n"SIEVE" "fileinto"\r\nOK\r\n'
      talk.write(capabilities)
      for (;;) {
        const line = await talk.line()
        const [, base64] = /^AUTHENTICATE "PLAIN" "([^"]+)"/i.exec(line) ?? []
        talk.write(/^CAPABILITY/i.test(line) ? capabilities : 'OK\r\n')
        if (base64 !== undefined) return userOf(base64)
      }
    },
  },
  submission: {
    async serve(talk) {
      talk.write('220 chaos ESMTP\r\n')
      for (;;) {
        const line = await talk.line()
        const [, base64] = /^AUTH PLAIN (\S+)/i.exec(line) ?? []
        talk.write(/^EHLO/i.test(line) ? '250-chaos\r\n250 AUTH PLAIN\r\n' : base64 === undefined ? '250 fine\r\n' : '235 in\r\n')
        if (base64 !== undefined) return userOf(base64)
      }
    },
  },
  smtp: {
    async serve(talk) {
      talk.write('220 chaos ESMTP\r\n')
      return ''
    },
  },
  lmtp: {
    async serve(talk) {
      talk.write('220 chaos LMTP\r\n')
      return ''
    },
  },
}
