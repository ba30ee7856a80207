/**
 * Bearer tokens for a real Dovecot: an introspection endpoint (RFC 7662, as Dovecot's oauth2 passdb asks it) on loopback, and
 * the lines of configuration that point there. The token `good-USER` is USER's, every other one is nobody's.
 */
import { writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { join } from 'node:path'

export interface TokenServer extends AsyncDisposable {
  /** Lines for Dovecot's configuration: the mechanisms, and the passdb that takes them. */
  readonly settings: string
  stop(): Promise<void>
}

/** @param directory where Dovecot's processes can read the passdb's own file */
export async function startTokenServer(directory: string): Promise<TokenServer> {
  const server = createServer((request, response) => {
    const token = new URL(request.url ?? '', 'http://localhost').searchParams.get('token') ?? ''
    const username = /^good-(.+)$/.exec(token)?.[1]
    response.setHeader('content-type', 'application/json')
    response.end(JSON.stringify(username === undefined ? { active: false } : { active: true, username }))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  const port = typeof address === 'object' && address !== null ? address.port : 0
  const path = join(directory, 'oauth2.conf')
  const lines = [`introspection_url = http://127.0.0.1:${port}/?token=`, 'introspection_mode = get', 'username_attribute = username', 'active_attribute = active', 'active_value = true']
  await writeFile(path, `${lines.join('\n')}\n`, { mode: 0o644 })
  const stop = async (): Promise<void> => {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  }
  return {
    settings: `
auth_mechanisms = plain login oauthbearer xoauth2
passdb {
  driver = oauth2
  mechanisms = oauthbearer xoauth2
  args = ${path}
}
`,
    stop,
    [Symbol.asyncDispose]: stop,
  }
}
