/**
 * Certificates of a run, made when it begins: an authority, and a P-256 leaf for localhost that backend and proxies
 * show. Written as PEM files, because peers want files; readable for the users that peers run as.
 */
import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { makeAuthority } from '../test/support/certificates.ts'

/** Paths of PEM files. */
export interface Credentials {
  readonly ca: string
  readonly cert: string
  readonly key: string
  /** Key and certificate in one file, as HAProxy wants them. */
  readonly pair: string
  /** 48 bytes in hex: what workers encrypt session tickets with. */
  readonly ticketKeys: string
}

export async function makeCredentials(directory: string): Promise<Credentials> {
  const authority = await makeAuthority('Signalbox bench')
  const leaf = await authority.issue({ names: ['localhost', '127.0.0.1'] })
  const write = async (name: string, text: string): Promise<string> => {
    const path = join(directory, name)
    // It guards nothing: it is made for minutes on loopback, and servers under other users must read it.
    await writeFile(path, text, { mode: 0o644 })
    return path
  }
  return {
    ca: await write('ca.pem', authority.cert),
    cert: await write('cert.pem', leaf.cert),
    key: await write('key.pem', leaf.key),
    pair: await write('pair.pem', leaf.key + leaf.cert),
    ticketKeys: randomBytes(48).toString('hex'),
  }
}
