/** mbsync, a real synchronising client: one mailbox account over IMAPS into a Maildir of a temporary directory. */
import { execFile } from 'node:child_process'
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { programPath } from './programs.ts'

const run = promisify(execFile)

export interface MbsyncOptions {
  readonly directory: string
  readonly port: number
  readonly user: string
  readonly password: string
  /** PEM. */
  readonly ca: string
  /** Default IMAPS. */
  readonly tls?: 'IMAPS' | 'STARTTLS'
}

export interface Mbsync {
  /** Synchronises both ways; rejects with what mbsync said when it fails. */
  sync(): Promise<void>
  /** All messages of the local INBOX. */
  messages(): Promise<string[]>
  /** Puts a message into the local INBOX. */
  add(name: string, message: string): Promise<void>
}

export async function prepareMbsync(options: MbsyncOptions): Promise<Mbsync> {
  const at = (name: string): string => join(options.directory, name)
  await mkdir(at('boxes'), { recursive: true })
  await writeFile(at('mbsync-ca.pem'), options.ca)
  await writeFile(
    at('mbsyncrc'),
    `IMAPAccount account
Host localhost
Port ${options.port}
User ${options.user}
Pass ${options.password}
SSLType ${options.tls ?? 'IMAPS'}
CertificateFile ${at('mbsync-ca.pem')}
SystemCertificates no

IMAPStore far
Account account

MaildirStore near
Inbox ${at('inbox')}
Path ${at('boxes')}/
SubFolders Verbatim

Channel all
Far :far:
Near :near:
Patterns *
Create Both
Expunge Both
SyncState *
`,
  )
  return {
    sync: async () => void (await run(programPath('mbsync'), ['-c', at('mbsyncrc'), '-a'], { timeout: 60_000 })),
    async messages() {
      const found: string[] = []
      for (const part of ['new', 'cur']) {
        const directory = join(at('inbox'), part)
        for (const name of await readdir(directory)) found.push(await readFile(join(directory, name), 'utf8'))
      }
      return found
    },
    add: (name, message) => writeFile(join(at('inbox'), 'new', `${name}.localhost`), message),
  }
}
