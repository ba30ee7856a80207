/**
 * What an answer says of a change that was made: 200 when every local worker has it in force, 504 `committed, not
 * confirmed` when one hasn't; peers that haven't acknowledged stand in the JSON and in a header either way. It never
 * says less than the truth.
 */
import type { Answer } from './answer.ts'
import type { Confirmation } from './operations.ts'

/** Header that lists the peers which have not confirmed, percent-encoded, and `bus: down` when nobody could be asked. */
export const UNCONFIRMED = 'Signalbox-Unconfirmed'

/** Names of peers without an acknowledgement. */
export function unconfirmed(confirmation: Confirmation): readonly string[] {
  return confirmation.peers.filter((peer) => !peer.acknowledged).map((peer) => peer.instance)
}

/** The header that names them, if there are any. */
export function unconfirmedHeader(confirmation: Confirmation): Pick<Answer, 'headers'> {
  const names = unconfirmed(confirmation).map(encodeName)
  if (confirmation.bus === 'down') names.push('bus: down')
  return names.length === 0 ? {} : { headers: { [UNCONFIRMED]: names.join(', ') } }
}

/**
 * The answer to a change: `text` when it is in force here. `subject` (who and where) stands in the JSON only, as the
 * audit has its own redacted fields for that; `facts` stand in both.
 */
export function changed(
  text: string,
  confirmation: Confirmation,
  subject: Readonly<Record<string, string>>,
  facts: Readonly<Record<string, string | number | boolean>> = {},
): Answer {
  const inForce = confirmation.workers >= confirmation.workersExpected
  const missing = unconfirmed(confirmation)
  const names = missing.map(encodeName)
  if (confirmation.bus === 'down') names.push('bus: down')
  const sentence = 'committed, not confirmed'
  return {
    status: inForce ? 200 : 504,
    text: inForce ? text : sentence,
    json: {
      ...(inForce ? { result: text } : { error: sentence, code: 'NOT_CONFIRMED' }),
      ...subject,
      ...facts,
      workers: confirmation.workers,
      workers_expected: confirmation.workersExpected,
      peers: confirmation.peers,
      unconfirmed: missing,
      bus: confirmation.bus,
    },
    ...unconfirmedHeader(confirmation),
    audit: { outcome: inForce ? 'ok' : 'NOT_CONFIRMED', confirmation, facts },
  }
}

/** Names come from configurations of other hosts: toWellFormed keeps encodeURIComponent from throwing. */
function encodeName(name: string): string {
  return encodeURIComponent(name.toWellFormed())
}
