/**
 * nginx as a mail proxy, and as an HTTP proxy. The mail proxy asks an HTTP server where an account lives: here nginx
 * itself, in the same workers, so that this is as cheap as it gets and in its own account. It can't encrypt the way to
 * the backend. Logs: errors only; the HTTP access log is off for the hop, as nobody would keep it.
 */
import { existsSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { freePort } from '../../test/support/ports.ts'
import { findProgram } from '../../test/support/programs.ts'
import { launch, Unavailable } from './proxy.ts'
import type { Proxy, ProxyKind, ProxyOptions } from './proxy.ts'

const MODULES = ['/usr/lib/nginx/modules', '/usr/lib64/nginx/modules', '/usr/local/lib/nginx/modules']

export const nginxMail: ProxyKind = {
  name: 'nginx mail',
  peer: true,
  async start(options) {
    if (options.legs === 'both') throw new Unavailable('it cannot encrypt the way to a mail server')
    const program = nginxProgram()
    const module = MODULES.map((directory) => join(directory, 'ngx_mail_module.so')).find((path) => existsSync(path))
    if (module === undefined) throw new Unavailable('its mail module is missing (Debian: libnginx-mod-mail)')
    const { port, backendPort, legs, credentials } = options
    const hop = await freePort()
    const tls = legs === 'plain' ? '' : ' ssl'
    const certificate = legs === 'plain' ? '' : `ssl_certificate ${credentials.cert}; ssl_certificate_key ${credentials.key}; ssl_protocols TLSv1.2 TLSv1.3; ssl_session_cache shared:mail:16m; ssl_session_tickets on;`
    return start('nginx mail', program, options, `load_module ${module};`, `
mail {
  auth_http 127.0.0.1:${hop}/where;
  server {
    listen 127.0.0.1:${port}${tls} backlog=4096;
    ${certificate}
    protocol imap;
    imap_auth plain login;
    imap_capabilities IMAP4rev1 SASL-IR LITERAL+ ID ENABLE;
    starttls off;
    xclient off;
  }
}
http {
  access_log off;
  server {
    listen 127.0.0.1:${hop};
    location /where {
      add_header Auth-Status OK;
      add_header Auth-Server 127.0.0.1;
      add_header Auth-Port ${backendPort};
      return 200 "";
    }
  }
}
`)
  },
}

export const nginxHttp: ProxyKind = {
  name: 'nginx proxy_pass',
  peer: true,
  start: (options) =>
    start('nginx proxy_pass', nginxProgram(), options, '', `
http {
  access_log off;
  keepalive_requests 1000000000;
  upstream backend {
    server 127.0.0.1:${options.backendPort};
    keepalive 256;
    keepalive_requests 1000000000;
  }
  server {
    listen 127.0.0.1:${options.port} backlog=4096;
    location / {
      proxy_pass http://backend;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
    }
  }
}
`),
}

function nginxProgram(): string {
  const program = findProgram('nginx')
  if (program === undefined) throw new Unavailable('not installed')
  return program
}

async function start(name: string, program: string, { directory, port, workers }: ProxyOptions, modules: string, text: string): Promise<Proxy> {
  const path = join(directory, 'nginx.conf')
  await writeFile(path, `${modules}
daemon off;
worker_processes ${workers};
pid ${directory}/nginx.pid;
error_log ${directory}/error.log warn;
events { worker_connections 16000; }
${text}`)
  return launch({ name, peer: true, program, args: ['-p', directory, '-e', join(directory, 'error.log'), '-c', path], port, directory })
}
