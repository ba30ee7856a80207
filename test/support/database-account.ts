/** The account that the databases of tests know: one for all, with a password that an URL must encode. */

export const USER = 'signalbox'
/** Not a secret: it is the server's for the length of a test. */
export const PASSWORD = 'p@ss/w:rd'

/** `place`: scheme and database; `parameters`: "sslmode=…" */
export function databaseUrl(place: { readonly scheme: string; readonly database: string; readonly port: number }, parameters: string): string {
  const { scheme, database, port } = place
  const query = parameters === '' ? '' : `?${parameters}`
  return `${scheme}://${USER}:${encodeURIComponent(PASSWORD)}@127.0.0.1:${port}/${database}${query}`
}
