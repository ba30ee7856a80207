/**
 * One client of a demo mail server, after the greeting: IMAP4rev1 (RFC 3501) with SASL-IR, IDLE, UIDPLUS, UNSELECT,
 * LITERAL+ and ID, as far as a mail client needs it to look at mailboxes, add messages and take them away.
 * It has no socket: bytes come in through `receive`, go out through its port. Everything is answered synchronously.
 */
import type { Account } from './account.ts'
import { parseInternalDate, planFetch } from './imap-fetch.ts'
import { searchMessages } from './imap-search.ts'
import { CommandReader, holds, itemsOf, parseSet, quote, SyntaxProblem, textOf } from './imap-wire.ts'
import type { Argument, Command } from './imap-wire.ts'
import type { Mailbox, Message } from './mailbox.ts'

/** Commands that can't be read, after which the connection ends. */
const MISTAKES = 20
const FLAGS = '\\Answered \\Flagged \\Deleted \\Seen \\Draft'

export interface ImapPort {
  write(bytes: Buffer): void
  /** STARTTLS was agreed to; `secured` is called when TLS is up. */
  startTls(): void
  end(): void
}

export interface ImapSite {
  /** Shown in the greeting and in the answer to ID. */
  readonly name: string
  account(user: string): Account | undefined
}

interface Selected {
  readonly mailbox: Mailbox
  readonly readOnly: boolean
  /** What the client knows: messages in its sequence order, and which change of their flags it was told. */
  readonly view: { readonly message: Message; told: number }[]
  readonly unwatch: () => void
}

/** A NO answer; its message is what the client reads. */
class Refused extends Error {}

export class ImapSession {
  readonly #port: ImapPort
  readonly #site: ImapSite
  readonly #reader: CommandReader
  #secure: boolean
  #account: Account | undefined
  #selected: Selected | undefined
  /** What the next line is, when it isn't a command. */
  #awaiting: ((line: Buffer) => void) | undefined
  #idling = false
  #mistakes = 0
  #over = false

  constructor(port: ImapPort, site: ImapSite, secure: boolean) {
    this.#port = port
    this.#site = site
    this.#secure = secure
    this.#reader = new CommandReader(() => this.#line('+ OK'))
  }

  start(): void {
    this.#line(`* OK [CAPABILITY ${this.#capabilities()}] This is the ${this.#site.name}`)
  }

  secured(): void {
    this.#secure = true
    this.#reader.clear()
  }

  /** Lets go of the mailbox; nothing is said any more. */
  close(): void {
    this.#over = true
    this.#deselect()
  }

  receive(chunk: Buffer): void {
    this.#reader.feed(chunk)
    while (!this.#over) {
      try {
        if (this.#awaiting !== undefined) {
          const line = this.#reader.line()
          if (line === undefined) return
          const handle = this.#awaiting
          this.#awaiting = undefined
          handle(line)
        } else {
          const command = this.#reader.command()
          if (command === undefined) return
          this.#run(command)
        }
      } catch (thrown) {
        if (!(thrown instanceof SyntaxProblem)) throw thrown
        this.#mistaken(thrown)
      }
    }
  }

  #mistaken(problem: SyntaxProblem): void {
    if (problem.tag === undefined || ++this.#mistakes >= MISTAKES) {
      this.#line(`* BYE ${problem.message}`)
      this.#finish()
    } else this.#line(`${problem.tag} BAD ${problem.message}`)
  }

  #run(command: Command): void {
    try {
      const text = this.#dispatch(command)
      if (text !== undefined) this.#line(`${command.tag} OK ${text}`)
    } catch (thrown) {
      if (!(thrown instanceof Refused)) throw thrown
      this.#line(`${command.tag} NO ${thrown.message}`)
    }
  }

  /** Runs one command; gives the text of its OK, or undefined when it answers by itself. */
  #dispatch(command: Command): string | undefined {
    const { name, tag, args } = command
    switch (name) {
      case 'CAPABILITY':
        this.#line(`* CAPABILITY ${this.#capabilities()}`)
        return 'done'
      case 'NOOP':
      case 'CHECK':
        this.#sync(true)
        return 'done'
      case 'ID':
        this.#line(`* ID ("name" ${quote(this.#site.name)})`)
        return 'done'
      case 'LOGOUT':
        this.#line('* BYE See you')
        this.#line(`${tag} OK done`)
        this.#finish()
        return undefined
    }
    if (this.#account === undefined) return this.#beforeLogin(command)
    const account = this.#account
    switch (name) {
      case 'ENABLE':
        this.#line('* ENABLED')
        return 'done'
      case 'LIST':
      case 'LSUB': return this.#list(account, command)
      case 'STATUS': return this.#status(account, command)
      case 'SELECT':
      case 'EXAMINE': return this.#select(account, command)
      case 'CREATE':
        if (account.create(textOf(args[0]) ?? '') === undefined) throw new Refused('[CANNOT] Not that name')
        return 'done'
      case 'SUBSCRIBE':
      case 'UNSUBSCRIBE':
        this.#mailbox(account, args[0])
        return 'done'
      case 'APPEND': return this.#append(account, command)
      case 'IDLE': return this.#idle(command)
    }
    const selected = this.#selected
    if (selected === undefined) throw new SyntaxProblem('No mailbox selected, or no such command', tag)
    return this.#whileSelected(selected, account, command)
  }

  #beforeLogin({ name, tag, args }: Command): string | undefined {
    switch (name) {
      case 'STARTTLS':
        if (this.#secure) throw new SyntaxProblem('TLS is up already', tag)
        this.#line(`${tag} OK Begin TLS`)
        this.#reader.clear()
        this.#port.startTls()
        return undefined
      case 'LOGIN': return this.#login(textOf(args[0]), textOf(args[1]))
      case 'AUTHENTICATE': {
        if (textOf(args[0])?.toUpperCase() !== 'PLAIN') throw new Refused('[CANNOT] Only PLAIN')
        const initial = textOf(args[1])
        if (initial !== undefined) return this.#plain(initial)
        this.#line('+ ')
        this.#awaiting = (line) => this.#run({ tag, name: 'AUTHENTICATE', args: [...args, { kind: 'string', bytes: line }] })
        return undefined
      }
    }
    throw new SyntaxProblem('Log in first, or no such command', tag)
  }

  #plain(base64: string): string {
    if (base64 === '*') throw new Refused('Cancelled')
    const [, user, password] = Buffer.from(base64, 'base64').toString('utf8').split('\0')
    return this.#login(user, password)
  }

  #login(user: string | undefined, password: string | undefined): string {
    if (!this.#secure) throw new Refused('[PRIVACYREQUIRED] Not without TLS')
    const account = user === undefined ? undefined : this.#site.account(user)
    if (account === undefined || !account.admits(password ?? '')) throw new Refused('[AUTHENTICATIONFAILED] Wrong user or password')
    this.#account = account
    return `[CAPABILITY ${this.#capabilities()}] Welcome to the ${this.#site.name}`
  }

  #capabilities(): string {
    const always = 'IMAP4rev1 LITERAL+ ID ENABLE'
    if (this.#account !== undefined) return `${always} IDLE UIDPLUS UNSELECT`
    return this.#secure ? `${always} SASL-IR AUTH=PLAIN` : `${always} STARTTLS LOGINDISABLED`
  }

  #list(account: Account, { name, args }: Command): string {
    const pattern = `${textOf(args[0]) ?? ''}${textOf(args[1]) ?? ''}`
    if (pattern === '') this.#line(`* ${name} (\\Noselect) "/" ""`)
    else for (const mailbox of account.matching(pattern)) this.#line(`* ${name} (\\HasNoChildren) "/" ${quote(mailbox.name)}`)
    return 'done'
  }

  #status(account: Account, { tag, args }: Command): string {
    const mailbox = this.#mailbox(account, args[0])
    const items = itemsOf(args[1]).map((item) => {
      const asked = textOf(item)?.toUpperCase() ?? ''
      switch (asked) {
        case 'MESSAGES': return `MESSAGES ${mailbox.messages.length}`
        case 'RECENT': return 'RECENT 0'
        case 'UIDNEXT': return `UIDNEXT ${mailbox.nextUid}`
        case 'UIDVALIDITY': return `UIDVALIDITY ${mailbox.uidValidity}`
        case 'UNSEEN': return `UNSEEN ${mailbox.messages.filter((message) => !message.flags.has('\\Seen')).length}`
      }
      throw new SyntaxProblem(`Unknown STATUS item ${asked}`, tag)
    })
    this.#line(`* STATUS ${quote(mailbox.name)} (${items.join(' ')})`)
    return 'done'
  }

  #select(account: Account, { name, args }: Command): string {
    this.#deselect()
    const mailbox = this.#mailbox(account, args[0])
    const readOnly = name === 'EXAMINE'
    const view = mailbox.messages.map((message) => ({ message, told: message.changes }))
    const unwatch = mailbox.watch(() => {
      if (this.#idling) this.#sync(true)
    })
    this.#selected = { mailbox, readOnly, view, unwatch }
    this.#line(`* FLAGS (${FLAGS})`)
    this.#line(`* ${view.length} EXISTS`)
    this.#line('* 0 RECENT')
    const unseen = view.findIndex(({ message }) => !message.flags.has('\\Seen'))
    if (unseen >= 0) this.#line(`* OK [UNSEEN ${unseen + 1}] first unseen`)
    this.#line(`* OK [UIDVALIDITY ${mailbox.uidValidity}] valid`)
    this.#line(`* OK [UIDNEXT ${mailbox.nextUid}] next`)
    this.#line(`* OK [PERMANENTFLAGS (${readOnly ? '' : `${FLAGS} \\*`})] permanent`)
    return readOnly ? '[READ-ONLY] done' : '[READ-WRITE] done'
  }

  #deselect(): void {
    this.#selected?.unwatch()
    this.#selected = undefined
  }

  #append(account: Account, { tag, args }: Command): string {
    const mailbox = this.#mailbox(account, args[0], 'TRYCREATE')
    const message = args.at(-1)
    if (args.length < 2 || message?.kind !== 'string') throw new SyntaxProblem('Expected a message', tag)
    const between = args.slice(1, -1)
    const flags = between.flatMap((argument) => (argument.kind === 'list' ? flagsOf(argument, tag) : []))
    const date = between.find((argument) => argument.kind === 'string')
    const received = date === undefined ? new Date() : parseInternalDate(textOf(date) ?? '')
    if (received === undefined) throw new SyntaxProblem('Not a date', tag)
    const added = mailbox.append(message.bytes, flags, received)
    if (added === undefined) throw new Refused('[OVERQUOTA] The mailbox is full')
    this.#sync(true)
    return `[APPENDUID ${mailbox.uidValidity} ${added.uid}] done`
  }

  #idle({ tag }: Command): undefined {
    this.#line('+ idling')
    this.#idling = true
    this.#sync(true)
    this.#awaiting = (line) => {
      this.#idling = false
      const done = line.toString('latin1').toUpperCase() === 'DONE'
      this.#line(done ? `${tag} OK done` : `${tag} BAD Expected DONE`)
    }
    return undefined
  }

  #whileSelected(selected: Selected, account: Account, command: Command): string {
    const { name, tag, args } = command
    switch (name) {
      case 'UNSELECT':
        this.#deselect()
        return 'done'
      case 'CLOSE':
        if (!selected.readOnly) selected.mailbox.expunge(() => true)
        this.#deselect()
        return 'done'
      case 'EXPUNGE':
        this.#expunge(selected, () => true)
        return 'done'
      case 'UID': {
        const inner = { tag, name: textOf(args[0])?.toUpperCase() ?? '', args: args.slice(1) }
        if (inner.name === 'EXPUNGE') {
          const set = parseSet(textOf(inner.args[0]) ?? '', selected.view.at(-1)?.message.uid ?? 0)
          if (set === undefined) throw new SyntaxProblem('Not a set', tag)
          this.#expunge(selected, (message) => holds(set, message.uid))
          return 'done'
        }
        return this.#onMessages(selected, account, inner, true)
      }
    }
    return this.#onMessages(selected, account, command, false)
  }

  #expunge(selected: Selected, which: (message: Message) => boolean): void {
    if (selected.readOnly) throw new Refused('[NOPERM] The mailbox is open for reading only')
    selected.mailbox.expunge(which)
    this.#sync(true)
  }

  #onMessages(selected: Selected, account: Account, { name, tag, args }: Command, byUid: boolean): string {
    if (name === 'SEARCH') {
      const found = searchMessages(selected.view.map(({ message }) => message), args, tag)
      this.#line(['* SEARCH', ...found.map(([number, message]) => (byUid ? message.uid : number))].join(' '))
      return this.#done(byUid)
    }
    const set = parseSet(textOf(args[0]) ?? '', byUid ? (selected.view.at(-1)?.message.uid ?? 0) : selected.view.length)
    if (set === undefined) throw new SyntaxProblem('Not a set, or no such command', tag)
    const chosen = selected.view.flatMap((known, index) => (holds(set, byUid ? known.message.uid : index + 1) ? [{ known, number: index + 1 }] : []))
    switch (name) {
      case 'FETCH': {
        const plan = planFetch(itemsOf(args[1]), tag, byUid)
        for (const { known: { message }, number } of chosen) {
          const marks = plan.marksSeen && !selected.readOnly && !message.flags.has('\\Seen')
          if (marks) selected.mailbox.setFlags(message, 'add', ['\\Seen'])
          this.#port.write(Buffer.concat([Buffer.from(`* ${number} FETCH `), plan.render(message), Buffer.from('\r\n')]))
        }
        return this.#done(byUid)
      }
      case 'STORE': {
        if (selected.readOnly) throw new Refused('[NOPERM] The mailbox is open for reading only')
        const how = /^([+-]?)FLAGS(\.SILENT)?$/i.exec(textOf(args[1]) ?? '')
        if (how === null) throw new SyntaxProblem('Expected FLAGS', tag)
        const flags = args.slice(2).flatMap((argument) => flagsOf(argument, tag))
        for (const { known, number } of chosen) {
          selected.mailbox.setFlags(known.message, how[1] === '+' ? 'add' : how[1] === '-' ? 'remove' : 'set', flags)
          known.told = known.message.changes
          if (how[2] === undefined) this.#tellFlags(number, known.message, byUid)
        }
        return this.#done(byUid)
      }
      case 'COPY': {
        const target = this.#mailbox(account, args[1], 'TRYCREATE')
        for (const { known: { message } } of chosen) {
          if (target.append(message.raw, message.flags, message.received) === undefined) throw new Refused('[OVERQUOTA] The mailbox is full')
        }
        return this.#done(byUid)
      }
    }
    throw new SyntaxProblem('No such command', tag)
  }

  /** Sequence numbers must not move under FETCH, STORE and SEARCH (RFC 9051 §7.5.1); under their UID forms they may. */
  #done(byUid: boolean): string {
    this.#sync(byUid)
    return 'done'
  }

  /** Tells the client what changed since it was last told. */
  #sync(mayExpunge: boolean): void {
    const selected = this.#selected
    if (selected === undefined) return
    const { mailbox, view } = selected
    if (mayExpunge) {
      const there = new Set(mailbox.messages)
      for (let index = view.length - 1; index >= 0; index--) {
        const known = view[index]
        if (known === undefined || there.has(known.message)) continue
        view.splice(index, 1)
        this.#line(`* ${index + 1} EXPUNGE`)
      }
    }
    for (const [index, known] of view.entries()) {
      if (known.told === known.message.changes) continue
      known.told = known.message.changes
      this.#tellFlags(index + 1, known.message, false)
    }
    const last = view.at(-1)?.message.uid ?? 0
    const added = mailbox.messages.filter((message) => message.uid > last)
    if (added.length === 0) return
    view.push(...added.map((message) => ({ message, told: message.changes })))
    this.#line(`* ${view.length} EXISTS`)
  }

  #tellFlags(number: number, message: Message, withUid: boolean): void {
    this.#line(`* ${number} FETCH (${withUid ? `UID ${message.uid} ` : ''}FLAGS (${[...message.flags].join(' ')}))`)
  }

  #mailbox(account: Account, name: Argument | undefined, code = 'NONEXISTENT'): Mailbox {
    const mailbox = account.mailbox(textOf(name) ?? '')
    if (mailbox === undefined) throw new Refused(`[${code}] No such mailbox`)
    return mailbox
  }

  #finish(): void {
    this.close()
    this.#port.end()
  }

  /** Texts hold bytes as latin1 where a literal stands in them. */
  #line(text: string): void {
    this.#port.write(Buffer.from(`${text}\r\n`, 'latin1'))
  }
}

/** Flags as written, the system ones in their usual case. */
function flagsOf(argument: Argument, tag: string): string[] {
  return itemsOf(argument).map((item) => {
    const flag = textOf(item) ?? ''
    const system = FLAGS.split(' ').find((known) => known.toLowerCase() === flag.toLowerCase())
    if (system === undefined && !/^[A-Za-z0-9$_.-]{1,64}$/.test(flag)) throw new SyntaxProblem('Not a flag', tag)
    return system ?? flag
  })
}
