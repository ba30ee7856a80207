/**
 * Tells on a terminal what the proxy's log says: a line for each login as it happens, and whatever is wrong. Reads the
 * log's JSON lines; one that isn't JSON is passed on as it is, since somebody thought it worth writing.
 */

/** A line for people, or undefined for what they needn't know. */
export function narrate(line: string): string | undefined {
  const entry = readEntry(line)
  if (entry === undefined) return line
  const text = (name: string): string | undefined => {
    const value = entry[name]
    return typeof value === 'string' || typeof value === 'number' ? String(value) : undefined
  }
  const who = text('account') ?? text('client') ?? ''
  if (entry['event'] === 'login') {
    const seconds = entry['seconds']
    const took = typeof seconds === 'number' ? `, ${(seconds * 1000).toFixed(1)} ms` : ''
    return `  ${who} → ${text('destination') ?? '?'}  (worker ${text('worker') ?? '?'}${took})`
  }
  if (entry['event'] === 'session_closed' && entry['reason'] === 'kicked') return `  ${who}: session on ${text('destination') ?? '?'} ended by kick`
  if (entry['level'] !== 'warn' && entry['level'] !== 'error' && entry['level'] !== 'fatal') return undefined
  return `  ! ${[text('msg'), who, text('code'), text('warning'), reasonOf(entry['error'])].filter((part) => part !== undefined && part !== '').join(' ')}`
}

/** Whether a line says that the proxy accepts connections. */
export function saysReady(line: string): boolean {
  return readEntry(line)?.['event'] === 'ready'
}

/** What an error says of itself. */
function reasonOf(error: unknown): string | undefined {
  return typeof error === 'object' && error !== null && 'message' in error && typeof error.message === 'string' ? error.message : undefined
}

function readEntry(line: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(line)
    return typeof value === 'object' && value !== null ? { ...value } : undefined
  } catch {
    // Not JSON: the caller shows it as it is.
    return undefined
  }
}
