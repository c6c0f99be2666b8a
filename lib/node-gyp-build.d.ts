declare module 'node-gyp-build' {
  export default function load(dir: string): unknown
}
