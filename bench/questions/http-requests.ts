/** One question: what does an HTTP request cost over kept connections? */
import { besideFloor } from '../beside-floor.ts'
import type { Bench, Question, Subject } from '../question.ts'
import { costFigures, speedFigures } from '../round-figures.ts'
import { Stage } from '../stage.ts'
import { httpFloor } from '../subjects/floor.ts'
import { haproxy } from '../subjects/haproxy.ts'
import { nginxHttp } from '../subjects/nginx.ts'
import type { Proxy, ProxyKind } from '../subjects/proxy.ts'
import { signalbox } from '../subjects/signalbox.ts'
import { gone, warmed } from '../warm.ts'

const CONCURRENCY = 64
const KINDS: readonly ProxyKind[] = [httpFloor, signalbox('kernel', 'Signalbox'), nginxHttp, haproxy]

async function run(bench: Bench): Promise<void> {
  const stage = await Stage.open(bench, { legs: 'plain', protocol: 'http' })
  // No goal is about HAProxy here.
  const proxies = await stage.startAll(bench.quick ? KINDS.filter((kind) => kind !== haproxy) : KINDS)
  const straight: Subject = {
    name: 'no proxy',
    async round() {
      const outcome = await stage.straight({ type: 'http', target: stage.target(0), concurrency: CONCURRENCY, ms: bench.roundMs })
      return speedFigures(outcome)
    },
  }
  await bench.compare([...proxies.map((proxy) => requests(bench, stage, proxy)), ...(bench.against === undefined ? [straight] : [])])
}

function requests(bench: Bench, stage: Stage, proxy: Proxy): Subject {
  const job = { type: 'http', target: stage.target(proxy.port), concurrency: CONCURRENCY, ms: bench.roundMs } as const
  return {
    name: proxy.name,
    peer: proxy.peer,
    async warm() {
      await warmed(bench, 0, () => gone(stage.measure(proxy, job)))
    },
    async round() {
      return costFigures(await stage.measure(proxy, job))
    },
  }
}

const question: Question = {
  title: 'What does an HTTP request cost over kept connections?',
  method: `GET with Basic credentials, answered with 1 kB, ${CONCURRENCY} connections with one request outstanding on each, no TLS. Signalbox routes each request by its account; nginx and HAProxy send all to one server.`,
  figures: {
    cpu: { label: 'CPU per request', unit: 'µs', better: 'less' },
    rate: { label: 'requests a second', unit: '/s', better: 'more' },
    latency: { label: 'answer, median', unit: 'ms', better: 'less' },
    late: { label: 'answer, 99th percentile', unit: 'ms', better: 'less' },
    cores: { label: 'cores used', unit: '', better: 'less' },
    wanted: { label: 'cores wanted', unit: '', better: 'less' },
  },
  goals: [...besideFloor('Signalbox', 'floor, node:http', 2.2), { kind: 'goal', subject: 'Signalbox', figure: 'cpu', of: 'nginx proxy_pass', most: 3.5 }],
  takes: { full: 42, quick: 14 },
  against: true,
  run,
}

export default question
