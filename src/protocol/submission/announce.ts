/**
 * What the proxy says of its client to a submission backend: EHLO under the client's own name, and XCLIENT
 * (Postfix's XCLIENT_README) with the attributes that the backend lists and no others. A name is a stranger's: nothing in it
 * ends a line or a word.
 */
import { SMTP_COMMAND } from '../../limits.ts'
import type { ClientAnnouncement, DialogueFacts } from '../protocol.ts'
import { NOBODY, type XclientAttribute, UNAVAILABLE, xclientAttributes, xclientText } from '../xclient.ts'

/** The EHLO command. A client that is not known (a probe's) is one on this host. */
export function ehlo({ heloName }: DialogueFacts): Buffer {
  const name = heloName === undefined || heloName === '' ? 'localhost' : heloName.replace(/[^\x21-\x7e]/g, '?')
  return Buffer.from(`EHLO ${name.slice(0, SMTP_COMMAND - 'EHLO \r\n'.length)}\r\n`, 'latin1')
}

/** An XCLIENT command. */
export interface Xclient {
  readonly bytes: Buffer
  /** It names the client's address. */
  readonly address: boolean
}

/**
 * The command that says who the client is; undefined: the backend lists nothing that could be told.
 *
 * @param names the attributes that the backend lists
 */
export function xclient(client: ClientAnnouncement, facts: DialogueFacts, names: readonly string[]): Xclient | undefined {
  return listed(xclientAttributes(client, facts, { smtp: true }), names)
}

/** The command that leaves the backend without a name or address to trust; undefined: it lists none. */
export function xclientNobody(names: readonly string[]): Xclient | undefined {
  return listed(NOBODY, names)
}

function listed(attributes: readonly XclientAttribute[], names: readonly string[]): Xclient | undefined {
  const taken: XclientAttribute[] = []
  for (const attribute of attributes) {
    if (names.includes(attribute[0]) && command([...taken, attribute]).length <= SMTP_COMMAND) taken.push(attribute)
  }
  if (taken.length === 0) return undefined
  return { bytes: Buffer.from(command(taken), 'latin1'), address: taken.some(([name, value]) => name === 'ADDR' && value !== UNAVAILABLE) }
}

function command(attributes: readonly XclientAttribute[]): string {
  return `XCLIENT ${xclientText(attributes)}\r\n`
}
