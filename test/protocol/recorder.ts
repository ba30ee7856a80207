/**
 * Drives a dialogue with recorded port calls, so that one dialogue fed in different pieces can be compared. Writes are
 * joined; what the session would answer comes from a script, after the piece was read ('later') or from within the
 * dialogue's own call ('within').
 */
import type {
  BackendDialogue,
  BackendOptions,
  BackendPort,
  Login,
  LoginProtocol,
  Preauth,
  PreauthFactory,
  Refusal,
} from '../../src/protocol/protocol.ts'

/** One recorded call; neighbouring writes are one. */
export type Call = readonly [name: string, ...values: unknown[]]

/** What the session does about a login. */
export type Verdict =
  | { readonly do: 'accept' }
  | { readonly do: 'refuse'; readonly refusal: Refusal }
  | { readonly do: 'unavailable' }
  | { readonly do: 'challenge'; readonly challenge: Buffer }

export type When = 'later' | 'within'

export const ACCEPT: Verdict = { do: 'accept' }
export const REFUSE: Verdict = { do: 'refuse', refusal: { text: Buffer.from('NO [AUTHENTICATIONFAILED] no') } }

class Recording {
  readonly calls: Call[] = []

  write(name: string, bytes: Buffer): void {
    const last = this.calls.at(-1)
    if (last?.[0] === name) this.calls.splice(-1, 1, [name, String(last[1]) + bytes.toString('latin1')])
    else this.calls.push([name, bytes.toString('latin1')])
  }
}

/** A login with its bytes as text, for comparison. */
export function plainLogin(login: Login): unknown {
  const { credentials } = login
  return {
    ...login,
    credentials:
      credentials.kind === 'password'
        ? { ...credentials, password: credentials.password.toString('latin1') }
        : { ...credentials, message: credentials.message.toString('latin1') },
  }
}

export interface PreauthRun {
  readonly calls: readonly Call[]
  readonly dialogue: Preauth
  /** The most bytes that were held at rest. */
  readonly mostHeld: number
}

/** Feeds `pieces` to a client dialogue. `verdicts` are used up one per login or answer; then logins wait for ever. */
export function runPreauth(
  factory: PreauthFactory,
  secure: boolean,
  pieces: readonly Buffer[],
  verdicts: readonly Verdict[] = [],
  when: When = 'later',
): PreauthRun {
  const recording = new Recording()
  const { calls } = recording
  const pending: (() => void)[] = []
  const react = (work: () => void): void => {
    if (when === 'within') work()
    else pending.push(work)
  }
  let next = 0
  const judge = (): void => {
    const verdict = verdicts[next++]
    if (verdict === undefined) return
    react(() => {
      switch (verdict.do) {
        case 'accept':
          recording.write('behind', dialogue.accepted())
          accepted = true
          return
        case 'refuse':
          return dialogue.refused(verdict.refusal)
        case 'unavailable':
          return dialogue.unavailable()
        case 'challenge':
          return dialogue.challenge(verdict.challenge)
      }
    })
  }
  let accepted = false
  const dialogue = factory.open(
    {
      write: (bytes) => recording.write('write', bytes),
      startTls: () => {
        calls.push(['startTls'])
        react(() => dialogue.secured())
      },
      login: (login) => {
        calls.push(['login', plainLogin(login)])
        judge()
      },
      respond: (answer) => {
        calls.push(['respond', answer?.toString('latin1')])
        judge()
      },
      deny: (answer, final) => {
        calls.push(['deny', answer.toString('latin1'), final])
        if (!final) react(() => dialogue.resume())
      },
      close: (last, error) => {
        calls.push(['close', last.toString('latin1'), error?.code])
      },
    },
    { secure, localAddress: '192.0.2.1', clientAddress: '192.0.2.2', session: 'test' },
  )
  dialogue.start()
  let mostHeld = 0
  for (const piece of pieces) {
    // The session reuses its read buffer: what the dialogue keeps must be its own.
    const chunk = Buffer.from(piece)
    if (accepted) recording.write('behind', chunk)
    else dialogue.receive(chunk)
    chunk.fill(0x5a)
    mostHeld = Math.max(mostHeld, dialogue.held)
    for (let work = pending.shift(); work !== undefined; work = pending.shift()) {
      // As the session: once the dialogue has closed, nothing that was under way is told to it any more.
      if (!calls.some(([name]) => name === 'close')) work()
    }
  }
  return { calls, dialogue, mostHeld }
}

export interface BackendRun {
  readonly calls: readonly Call[]
}

/**
 * Plays a backend: `turns` are what it says, each in pieces; a turn begins when the dialogue has written something since the
 * last one (the first at once). `login` is replayed once announced; `answers` are the client's to relayed challenges.
 */
export function runBackend(
  protocol: LoginProtocol,
  options: BackendOptions,
  turns: readonly (readonly Buffer[])[],
  login: Login,
  answers: readonly (Buffer | undefined)[] = [],
  when: When = 'later',
): BackendRun {
  const recording = new Recording()
  const { calls } = recording
  const pending: (() => void)[] = []
  const react = (work: () => void): void => {
    if (when === 'within') work()
    else pending.push(work)
  }
  let over = false
  let answered = 0
  const port: BackendPort = {
    write: (bytes) => recording.write('write', bytes),
    startTls: () => {
      calls.push(['startTls'])
      react(() => dialogue.secured())
    },
    announced: () => {
      calls.push(['announced'])
      react(() => dialogue.replay(login))
    },
    accepted: (bytes) => {
      over = true
      recording.write('accepted', bytes)
    },
    refused: (refusal) => {
      over = true
      calls.push(['refused', refusal.text?.toString('latin1'), refusal.temporary === true])
    },
    challenge: (challenge) => {
      calls.push(['challenge', challenge.toString('latin1')])
      const answer = answers[answered++]
      react(() => dialogue.respond(answer))
    },
    addressLost: () => {
      calls.push(['addressLost'])
    },
    trouble: (error) => {
      over = true
      calls.push(['trouble', error.code])
    },
  }
  const dialogue: BackendDialogue = protocol.backend(port, options)
  dialogue.start()
  for (const turn of turns) {
    for (const piece of turn) {
      const chunk = Buffer.from(piece)
      if (over && calls.at(-1)?.[0] === 'accepted') recording.write('accepted', chunk)
      else if (!over) dialogue.receive(chunk)
      chunk.fill(0x5a)
      for (let work = pending.shift(); work !== undefined; work = pending.shift()) work()
    }
  }
  return { calls }
}

/** Every way to feed `bytes` in two pieces, and byte by byte, and whole. */
export function* splits(bytes: Buffer): Generator<readonly Buffer[]> {
  yield [bytes]
  yield Array.from(bytes, (_, index) => bytes.subarray(index, index + 1))
  for (let cut = 1; cut < bytes.length; cut++) yield [bytes.subarray(0, cut), bytes.subarray(cut)]
}

/** Cuts `bytes` at the given places, whatever they are. */
export function cutAt(bytes: Buffer, places: readonly number[]): Buffer[] {
  const cuts = [...new Set(places.map((place) => place % (bytes.length + 1)))].sort((a, b) => a - b)
  const pieces: Buffer[] = []
  let from = 0
  for (const cut of [...cuts, bytes.length]) {
    if (cut > from) pieces.push(bytes.subarray(from, cut))
    from = Math.max(from, cut)
  }
  return pieces
}
