/** Which rule a request falls under: the first whose glob fits the path, as the configuration orders them. */
import type { HttpRouteConfig } from '../../config/config.ts'
import { compileExtract, type Extractor } from './extract.ts'
import { compileGlob } from './glob.ts'

/** Where a request goes. */
export type Rule =
  | { readonly kind: 'pinned'; readonly destination: string }
  /** By account; without one to `fallback` (undefined: the default destination). */
  | { readonly kind: 'account'; readonly extractor: Extractor; readonly fallback: string | undefined }

/**
 * The rule of a path (without its query), or undefined: there is nothing here.
 *
 * @throws Error for a pattern that RE2 doesn't take
 */
export function compileRoutes(routes: readonly HttpRouteConfig[], claim: string): (path: string) => Rule | undefined {
  const compiled = routes.map((route) => ({ fits: compileGlob(route.match), rule: ruleOf(route, claim) }))
  return (path) => compiled.find(({ fits }) => fits(path))?.rule
}

function ruleOf({ destination, extract, fallback }: HttpRouteConfig, claim: string): Rule {
  if (destination !== undefined) return { kind: 'pinned', destination }
  if (extract === undefined) throw new Error('a route needs a destination or extract')
  return { kind: 'account', extractor: compileExtract(extract, claim), fallback: fallback === 'default' ? undefined : fallback }
}
