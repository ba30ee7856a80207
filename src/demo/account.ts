/** One user of a demo mail server: a password and mailboxes, INBOX always among them. */
import { Mailbox } from './mailbox.ts'

/** Mailboxes that a client may create. */
const MAILBOXES = 100

export class Account {
  readonly user: string
  readonly #password: string
  readonly #mailboxes = new Map<string, Mailbox>()

  constructor(user: string, password: string) {
    this.user = user
    this.#password = password
    this.create('INBOX')
  }

  admits(password: string): boolean {
    return password === this.#password
  }

  get mailboxes(): readonly Mailbox[] {
    return [...this.#mailboxes.values()]
  }

  /** INBOX in any case is INBOX (RFC 9051 §5.1). */
  mailbox(name: string): Mailbox | undefined {
    return this.#mailboxes.get(canonical(name))
  }

  /** A new mailbox, or undefined when it exists, the name won't do or there are too many. */
  create(name: string): Mailbox | undefined {
    const key = canonical(name.replace(/\/$/, ''))
    if (this.#mailboxes.has(key) || this.#mailboxes.size >= MAILBOXES || !/^[\x20-\x7e]{1,200}$/.test(key)) return undefined
    const mailbox = new Mailbox(key, Math.floor(Date.now() / 1000))
    this.#mailboxes.set(key, mailbox)
    return mailbox
  }

  /** Those whose names a LIST pattern covers (`*` anything, `%` anything within one level). */
  matching(pattern: string): readonly Mailbox[] {
    const parts = pattern.split(/([*%])/).map((part) => {
      if (part === '*') return '.*'
      return part === '%' ? '[^/]*' : part.replaceAll(/[.+?^${}()|[\]\\]/g, '\\$&')
    })
    // Two wildcards in a row match what one does; a long run of them would only cost time.
    const source = parts.filter((part) => part !== '').filter((part, index, all) => part !== all[index - 1]).join('')
    const expression = new RegExp(`^${source}$`, 'i')
    return this.mailboxes.filter((mailbox) => expression.test(mailbox.name))
  }
}

function canonical(name: string): string {
  return name.toUpperCase() === 'INBOX' ? 'INBOX' : name
}
