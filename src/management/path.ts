/**
 * Paths of routes. A template such as `/fleet/{instance}` names a parameter in braces, which stands for exactly one
 * segment. The segments are taken from the request target as it came, so that a parameter in the path is decoded by the
 * same strict rules as one in the query, and an encoded slash is a part of its value.
 */
import { decodePercent } from './parameters.ts'

const PLACE = /^\{(\w+)\}$/

/** Names of the parameters that stand in the path, in their order. */
export function pathNames(template: string): readonly string[] {
  return segments(template).flatMap((segment) => PLACE.exec(segment)?.[1] ?? [])
}

/** The template as fastify's router writes it: `/fleet/:instance`. */
export function routerPath(template: string): string {
  return template.replace(/\{(\w+)\}/g, ':$1')
}

/** The parameters of a request target, still encoded; undefined when it doesn't fit the template. A slash at the end is ignored. */
export function matchPath(template: string, target: string): ReadonlyMap<string, string> | undefined {
  const wanted = segments(template)
  const given = segments(pathOf(target))
  if (given.length === wanted.length + 1 && given.at(-1) === '') given.pop()
  if (given.length !== wanted.length) return undefined
  const found = new Map<string, string>()
  for (const [index, segment] of wanted.entries()) {
    const text = given[index] ?? ''
    const name = PLACE.exec(segment)?.[1]
    if (name !== undefined) found.set(name, text)
    else if (decodePercent(text) !== segment) return undefined
  }
  return found
}

/** Without query, and without scheme and host where a client sends them (RFC 9112 §3.2.2). */
function pathOf(target: string): string {
  const end = target.indexOf('?')
  return (end < 0 ? target : target.slice(0, end)).replace(/^https?:\/\/[^/]*/, '')
}

function segments(path: string): string[] {
  return path.split('/').slice(1)
}
