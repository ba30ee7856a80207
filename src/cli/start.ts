/** `npm start`: the command line, with the demo where no configuration is named. */
if (process.argv.length === 2) process.argv.push('demo')
await import('../main.ts')
