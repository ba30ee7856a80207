/**
 * Forwarded (RFC 7239) and X-Forwarded-For, with which a destination is told who the client is. Ours goes behind what a
 * trusted sender has said; what others said has been taken out before.
 */
import { isIPv6 } from 'node:net'
import { valuesOf, type Fields } from './fields.ts'

export interface ClientFacts {
  /** Without brackets. */
  readonly address: string
  readonly secure: boolean
  /** The Host that it asked for; undefined: none. */
  readonly host: string | undefined
}

/** The fields with both appended; each becomes one field. */
export function withForwarded(fields: Fields, client: ClientFacts): string[] {
  const forwarded = [...valuesOf(fields, 'forwarded'), element(client)].join(', ')
  const addresses = [...valuesOf(fields, 'x-forwarded-for'), client.address].join(', ')
  const others: string[] = []
  for (let at = 0; at + 1 < fields.length; at += 2) {
    const [name = '', value = ''] = fields.slice(at, at + 2)
    if (!/^(?:x-forwarded-for|forwarded)$/i.test(name)) others.push(name, value)
  }
  return [...others, 'Forwarded', forwarded, 'X-Forwarded-For', addresses]
}

function element({ address, secure, host }: ClientFacts): string {
  const node = isIPv6(address) ? `"[${address}]"` : address
  return `for=${node};proto=${secure ? 'https' : 'http'}${host === undefined ? '' : `;host=${quoted(host)}`}`
}

/** A token as it is, anything else as a quoted string (RFC 9110 §5.6.4). */
function quoted(text: string): string {
  return /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(text) ? text : `"${text.replaceAll(/["\\]/g, '\\$&')}"`
}
