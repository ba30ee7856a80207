/**
 * What the proxy says of its client to a submission backend: EHLO under the client's own name, and XCLIENT
 * (Postfix's XCLIENT_README) with the attributes that the backend lists and no others. A name is a stranger's: nothing in it
 * ends a line or a word.
 */
import { SMTP_COMMAND } from '../../limits.ts'
import type { ClientAnnouncement, DialogueFacts } from '../protocol.ts'
import { type XclientAttribute, xclientAttributes, xclientText } from '../xclient.ts'

/** The EHLO command. A client that is not known (a probe's) is one on this host. */
export function ehlo({ heloName }: DialogueFacts): Buffer {
  const name = heloName === undefined || heloName === '' ? 'localhost' : heloName.replace(/[^\x21-\x7e]/g, '?')
  return Buffer.from(`EHLO ${name.slice(0, SMTP_COMMAND - 'EHLO \r\n'.length)}\r\n`, 'latin1')
}

/**
 * The XCLIENT command; undefined: the client's address can't be told.
 *
 * @param names the attributes that the backend lists
 */
export function xclient(client: ClientAnnouncement, facts: DialogueFacts, names: readonly string[]): Buffer | undefined {
  const taken: XclientAttribute[] = []
  for (const attribute of xclientAttributes(client, facts, { smtp: true })) {
    if (names.includes(attribute[0]) && command([...taken, attribute]).length <= SMTP_COMMAND) taken.push(attribute)
  }
  return taken.some(([name]) => name === 'ADDR') ? Buffer.from(command(taken), 'latin1') : undefined
}

function command(attributes: readonly XclientAttribute[]): string {
  return `XCLIENT ${xclientText(attributes)}\r\n`
}
