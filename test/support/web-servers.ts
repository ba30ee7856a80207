/**
 * Real HTTP software around the proxy, as private instances on loopback: nginx behind it (files, WebDAV, an application server
 * of its own behind it), HAProxy in front of it (TCP with PROXY headers of version 1 and 2).
 */
import { chmod, mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { freePorts } from './ports.ts'
import { programPath } from './programs.ts'
import { ServerProcess } from './server-process.ts'
import { makeTemporary } from './temporary.ts'

export interface Nginx extends AsyncDisposable {
  readonly port: number
  /** Its document root. */
  readonly root: string
  /** Ends it, and starts it anew. */
  restart(): Promise<void>
}

/** Serves files below /, WebDAV below /dav/, and passes /app/ on to `app` in chunks. Says `name` in X-Server. */
export async function startNginx(name: string, app: number): Promise<Nginx> {
  const temporary = await makeTemporary('nginx', 0o755)
  const [port = 0] = await freePorts(1)
  const at = (path: string): string => join(temporary.path, path)
  for (const directory of ['root', 'root/dav', 'temp']) {
    await mkdir(at(directory))
    // As root its worker is another user.
    await chmod(at(directory), 0o777)
  }
  await writeFile(
    at('nginx.conf'),
    `daemon off;
worker_processes 1;
pid ${at('pid')};
error_log ${at('error.log')} notice;
events { worker_connections 256; }
http {
  access_log off;
  types { text/plain txt; }
  client_body_temp_path ${at('temp/body')};
  proxy_temp_path ${at('temp/proxy')};
  fastcgi_temp_path ${at('temp/fastcgi')};
  uwsgi_temp_path ${at('temp/uwsgi')};
  scgi_temp_path ${at('temp/scgi')};
  client_max_body_size 64m;
  keepalive_timeout 30s;
  keepalive_requests 50;
  server {
    listen 127.0.0.1:${port};
    root ${at('root')};
    add_header X-Server ${name} always;
    add_header X-Connection $connection always;
    location /dav/ {
      dav_methods PUT DELETE MKCOL COPY MOVE;
      create_full_put_path on;
    }
    location /small/ { client_max_body_size 1k; }
    location /app/ {
      proxy_pass http://127.0.0.1:${app};
      proxy_http_version 1.1;
      proxy_buffering off;
    }
  }
}
`,
  )
  const server = new ServerProcess({ program: programPath('nginx'), args: ['-e', at('error.log'), '-c', at('nginx.conf'), '-p', temporary.path], port })
  await server.start()
  return {
    port,
    root: at('root'),
    restart: async () => {
      await server.stop('SIGTERM')
      await server.start()
    },
    [Symbol.asyncDispose]: async () => {
      await server.stop('SIGTERM')
      await temporary.remove()
    },
  }
}

export interface HaproxyFront {
  /** Where it listens; made by the caller, so that one instance serves several. */
  readonly port: number
  /** Where it connects to. */
  readonly to: number
  readonly header: 'send-proxy' | 'send-proxy-v2'
}

export async function startHaproxy(fronts: readonly HaproxyFront[]): Promise<AsyncDisposable> {
  const temporary = await makeTemporary('haproxy')
  const path = join(temporary.path, 'haproxy.cfg')
  const sections = fronts.map(({ port, to, header }, index) => `listen front${index}\n  bind 127.0.0.1:${port}\n  server proxy 127.0.0.1:${to} ${header}\n`)
  await writeFile(path, `global\n  maxconn 200\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n${sections.join('')}`)
  const server = new ServerProcess({ program: programPath('haproxy'), args: ['-db', '-f', path], port: fronts[0]?.port ?? 0 })
  await server.start()
  return {
    [Symbol.asyncDispose]: async () => {
      await server.stop('SIGTERM')
      await temporary.remove()
    },
  }
}
