/**
 * Who the client is, from a balancer's PROXY header to the log of a real Dovecot: for each way of forwarding, in both ways to hand
 * connections out, through logins and through LMTP that is passed on whole. The balancer is 127.0.0.1; 127.0.0.5 is a stranger.
 */
import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { stringify } from 'smol-toml'
import { LINE, bytewise, headerOf, tlsBehind } from '../support/behind-proxy.ts'
import { makeAuthority } from '../support/certificates.ts'
import { startDovecot } from '../support/dovecot.ts'
import type { Dovecot } from '../support/dovecot.ts'
import { freePorts } from '../support/ports.ts'
import { skipWithout } from '../support/programs.ts'
import { Signalbox } from '../support/signalbox.ts'
import { Peer } from '../support/socket-pair.ts'
import { soon } from '../support/soon.ts'
import { StubImap } from '../support/stub-imap.ts'
import { makeTemporary } from '../support/temporary.ts'
import type { Temporary } from '../support/temporary.ts'
import { WireClient } from '../support/wire-client.ts'

const STRANGER = '127.0.0.5'
const WAYS = ['none', 'proxy', 'xclient'] as const
const USERS = [...WAYS, 'circle', 'mute'].map((name) => `${name}@example.com`)

for (const distribution of ['primary', 'kernel'] as const) {
  describe(`the client's address with distribution "${distribution}"`, { skip: skipWithout('dovecot') }, () => {
    let temporary: Temporary
    let dovecot: Dovecot
    let box: Signalbox
    let stub: StubImap
    let ports: Record<'imap' | 'imaps' | 'lmtp' | 'lmtps' | 'limited', number>

    before(async () => {
      temporary = await makeTemporary('client-address')
      const at = (name: string): string => join(temporary.path, name)
      const authority = await makeAuthority()
      const certificate = await authority.issue({ names: ['localhost'] })
      await writeFile(at('ca.pem'), authority.cert)
      await writeFile(at('cert.pem'), certificate.cert)
      await writeFile(at('key.pem'), certificate.key, { mode: 0o600 })
      await writeFile(at('mappings'), USERS.map((user) => `${user}\t${user.split('@')[0]}\n`).join(''))
      dovecot = await startDovecot({
        name: 'mail',
        users: Object.fromEntries(USERS.map((user) => [user, 'secret'])),
        certificate,
        services: {},
      })
      stub = await StubImap.start({ name: 'mute', tls: 'plain' })
      const { login, lmtp } = dovecot.ports ?? assert.fail('no services')
      const [imap = 0, imaps = 0, lmtpPort = 0, lmtps = 0, limited = 0] = await freePorts(5)
      ports = { imap, imaps, lmtp: lmtpPort, lmtps, limited }
      const listener = (protocol: string, port: number, tls: string, proxy_protocol: string): object => ({
        protocol, bind: [`127.0.0.1:${port}`], tls, proxy_protocol, proxy_trusted: ['127.0.0.1/32'],
      })
      const leg = distribution === 'primary' ? { port: lmtp.proxiedStarttls, tls: 'plain' } : { port: lmtp.proxiedImplicit, tls: 'implicit' }
      const destination = (forwarding: string, port: number): object => ({
        host: '127.0.0.1', tls_server_name: 'localhost', tls_ca: at('ca.pem'), forwarding, allow_plaintext_auth: true,
        protocol: { imap: { port, tls: 'starttls' }, lmtp: { ...leg, forwarding: 'proxy' }, smtp: { port, tls: 'plain', forwarding: 'none' } },
      })
      box = await Signalbox.start({
        directory: temporary.path,
        config: stringify({
          server: { threads: 2, shutdown_grace: '1s', log_format: 'json', log_level: 'debug', distribution },
          tls: { certificate: { test: { cert: at('cert.pem'), key: at('key.pem') } } },
          listener: {
            imap: listener('imap', imap, 'starttls', 'optional'),
            imaps: listener('imap', imaps, 'implicit', 'required'),
            lmtp: listener('lmtp', lmtpPort, 'plain', 'required'),
            lmtps: listener('lmtp', lmtps, 'implicit', 'optional'),
            limited: listener('imap', limited, 'plain', 'required'),
          },
          destination: {
            none: destination('none', login.imap.starttls),
            proxy: destination('proxy', login.imap.proxiedStarttls),
            xclient: destination('xclient', login.imap.starttls),
            mute: { host: '127.0.0.1', forwarding: 'xclient', allow_plaintext_auth: true, protocol: { imap: { port: stub.port, tls: 'plain' } } },
            // Another way to say 127.0.0.1, which only the dial sees through.
            circle: { host: '0.0.0.0', forwarding: 'none', allow_plaintext_auth: true, protocol: { imap: { port: imap, tls: 'plain' } } },
          },
          routing: { default_destination: 'none', smtp_passthrough_destination: 'proxy' },
          mapping: { source: 'file', file: { path: at('mappings') } },
          capabilities: { imap: { allow_plain_auth_without_tls: true } },
          limits: { auth_failure_delay: '10ms', ...(distribution === 'primary' ? { max_connections_per_ip: 2 } : {}) },
          log: { accounts: 'full' },
        }),
      })
    })
    after(async () => {
      await (box as Signalbox | undefined)?.stop()
      await (dovecot as Dovecot | undefined)?.stop()
      await (stub as StubImap | undefined)?.stop()
      await (temporary as Temporary | undefined)?.remove()
    })

    const plain = (port: number, from?: string): Promise<WireClient> => WireClient.connect({ port, ...(from === undefined ? {} : { from }) })
    const remoteOf = (user: string): Promise<string> =>
      soon(`Dovecot's log names ${user}`, async () => new RegExp(`Login: user=<${user}>.*rip=([^,]+),`).exec(await dovecot.log())?.[1])

    for (const [way, seen] of [['none', '127.0.0.1'], ['proxy', '203.0.113.9'], ['xclient', '203.0.113.9']] as const) {
      it(`is announced by a balancer and reaches a destination with forwarding "${way}" as it should`, async () => {
        const user = `${way}@example.com`
        const client = await plain(ports.imap)
        client.send(LINE)
        await client.until(/^\* OK .*\r\n/)
        assert.match(await client.command(`a LOGIN ${user} secret`), /^a OK/m)
        assert.equal(await remoteOf(user), seen)
        const line = await box.line((one) => one['event'] === 'login' && one['account'] === user)
        assert.equal(line['client'], '203.0.113.9')
        client.destroy()
      })
    }

    it('is read ahead of TLS, in one packet with the handshake and a byte at a time', async () => {
      for (const pieces of [(bytes: Buffer) => [bytes], bytewise]) {
        const raw = connect({ port: ports.imaps, host: '127.0.0.1' })
        const socket = await tlsBehind(raw, headerOf('2001:db8::9'), pieces)
        const client = new Peer(socket)
        client.send('a LOGIN xclient@example.com secret\r\nb LOGOUT\r\n')
        await soon('the session is over', () => client.ended)
        assert.match(client.received, /^a OK/m)
        await soon('Dovecot saw it', async () => /Login: user=<xclient@example\.com>.*rip=2001:db8::9,/.test(await dovecot.log()))
        socket.destroy()
      }
    })

    it('is lost, and the log says so once for each worker, where a destination takes no ID', async () => {
      for (let logins = 0; logins < 6; logins++) {
        const client = await plain(ports.imap)
        client.send(headerOf(`203.0.113.${60 + logins}`))
        await client.until(/^\* OK .*\r\n/)
        assert.match(await client.command('a LOGIN mute@example.com secret'), /^a OK/m)
        client.destroy()
      }
      await box.line((one) => one['event'] === 'client_address_lost')
      const told = box.lines.filter((one) => one['event'] === 'client_address_lost')
      assert.ok(told.length <= 2)
      assert.deepEqual([told[0]?.['destination'], told[0]?.['protocol']], ['mute', 'imap'])
    })

    it('is nobody\'s own to forge: a stranger\'s header is nonsense where it is optional, and shuts the door where it is required', async () => {
      const client = await plain(ports.imap, STRANGER)
      await client.until(/^\* OK .*\r\n/)
      client.send(LINE)
      await client.until(/BAD/)
      assert.match(await client.command('a LOGIN proxy@example.com secret'), /^a OK/m)
      await soon('Dovecot sees the stranger', async () => new RegExp(`user=<proxy@example\\.com>.*rip=${STRANGER},`).test(await dovecot.log()))
      client.destroy()
      const shut = await plain(ports.imaps, STRANGER)
      shut.send(headerOf())
      await soon('closed', () => shut.ended)
      assert.equal(shut.received, '')
      const line = await box.line((one) => one['event'] === 'connection_refused' && one['listener'] === 'imaps')
      assert.deepEqual([line['client'], line['reason']], [STRANGER, 'proxy-header'])
    })

    it('is Dovecot\'s LMTP\'s too, through a connection that is passed on whole, plain and with TLS', async () => {
      const lines = async (say: (text: string) => void, heard: () => string): Promise<void> => {
        await soon('the greeting', () => heard().startsWith('220 '))
        say('LHLO balancer.example.com\r\n')
        await soon('the answer', () => /^250 /m.test(heard()))
        say('MAIL FROM:<a@example.com>\r\nRCPT TO:<none@example.com>\r\nDATA\r\n')
        await soon('the go-ahead', () => /^354 /m.test(heard()))
        say('From: a@example.com\r\nSubject: x\r\n\r\nhello\r\n.\r\nQUIT\r\n')
        await soon('delivered', () => /^250 2\.0\.0 <none@example\.com>.* Saved/m.test(heard()))
      }
      const seen = (address: string): Promise<boolean> =>
        soon(`LMTP saw ${address}`, async () => (await dovecot.log()).includes(`Connect from ${address}`))
      const client = await plain(ports.lmtp)
      client.send(LINE)
      await lines((text) => client.send(text), () => client.received)
      await seen('203.0.113.9')
      client.destroy()
      const socket = await tlsBehind(connect({ port: ports.lmtps, host: '127.0.0.1' }), headerOf('203.0.113.77'), (bytes) => [bytes])
      const secured = new Peer(socket)
      await lines((text) => secured.send(text), () => secured.received)
      await seen('203.0.113.77')
      socket.destroy()
      for (const [address, tls] of [['203.0.113.9', false], ['203.0.113.77', true]] as const) {
        const line = await box.line((one) => one['event'] === 'passed_through' && one['client'] === address)
        assert.equal(line['tls'], tls)
        const end = await box.line((one) => one['event'] === 'session_closed' && one['protocol'] === 'lmtp' && one['client'] === address)
        assert.equal(end['destination'], 'proxy')
      }
    })

    it('goes nowhere in circles: a destination that is our own listener is not dialled', async () => {
      const client = await plain(ports.imap)
      client.send(LINE)
      await client.until(/^\* OK .*\r\n/)
      assert.match(await client.command('a LOGIN circle@example.com secret'), /^a NO \[UNAVAILABLE\]/m)
      const line = await box.line((one) => one['event'] === 'login_unavailable')
      assert.equal(line['code'], 'BACKEND_LOOP')
      client.destroy()
    })

    it('comes with a time-to-live: a trusted proxy\'s is believed, a stranger\'s is not', async () => {
      for (const [from, answer] of [['127.0.0.1', /^b NO \[UNAVAILABLE\]/m], [STRANGER, /^b OK/m]] as const) {
        const client = await plain(ports.imap, from)
        if (from === '127.0.0.1') client.send('PROXY UNKNOWN\r\n')
        await client.until(/^\* OK .*\r\n/)
        await client.command('a ID ("x-proxy-ttl" "1")')
        assert.match(await client.command('b LOGIN xclient@example.com secret'), answer)
        client.destroy()
      }
    })

    it('is what connections are counted by', { skip: distribution === 'kernel' }, async () => {
      const open: WireClient[] = []
      const enter = async (address: string): Promise<WireClient> => {
        const client = await plain(ports.limited)
        open.push(client)
        client.send(headerOf(address))
        await soon('an answer', () => client.received.includes('\r\n'))
        return client
      }
      for (const address of ['203.0.113.50', '203.0.113.50', '203.0.113.51', '203.0.113.51']) {
        assert.match((await enter(address)).received, /^\* OK /)
      }
      const third = await enter('203.0.113.50')
      assert.match(third.received, /^\* BYE /)
      await soon('closed', () => third.ended)
      const line = await box.line((one) => one['event'] === 'connection_refused' && one['reason'] === 'address-full')
      assert.equal(line['client'], '203.0.113.50')
      open[0]?.destroy()
      await soon('there is room again', async () => (await enter('203.0.113.50')).received.startsWith('* OK '))
      for (const client of open) client.destroy()
    })
  })
}
