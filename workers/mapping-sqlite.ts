/** Entry of the threads that ask SQLite databases; the work is in src/mapping/sql/. */
export { answer as default } from '../src/mapping/sql/sqlite-tasks.ts'
