/** Formats of JSON Schema as patterns of whole texts: each text they match has the format; rare spellings are left out. */

const DAYS =
  '(?:\\d{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\\d|30)|02-(?:0[1-9]|1\\d|2[0-8]))' +
  '|(?:\\d\\d(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)-02-29)'
const TIME = '(?:[01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(?:\\.\\d{1,9})?(?:Z|[+-](?:[01]\\d|2[0-3]):[0-5]\\d)'

const N = '\\d{1,9}'
const CLOCK = `T(?:${N}H(?:${N}M(?:${N}S)?)?|${N}M(?:${N}S)?|${N}S)`
const CALENDAR = `(?:${N}Y(?:${N}M(?:${N}D)?)?|${N}M(?:${N}D)?|${N}D)`

const BYTE = '(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)'
const IPV4 = `(?:${BYTE}\\.){3}${BYTE}`
const H16 = '[0-9a-fA-F]{1,4}'
/** With "::" after so many groups, as many as are left may follow. */
const shortened = (before: number) => {
  const head = before === 0 ? '' : `${H16}(?::${H16}){${before - 1}}`
  const most = 6 - before
  return `${head}::${most < 0 ? '' : `(?:${H16}(?::${H16}){0,${most}})?`}`
}
const IPV6 = [`(?:${H16}:){7}${H16}`, ...[0, 1, 2, 3, 4, 5, 6, 7].map(shortened)].join('|')

/** At most 6 labels of 40, so the whole is shorter than a name may be. */
const LABEL = '[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,38}[a-zA-Z0-9])?'
const HOSTNAME = `${LABEL}(?:\\.${LABEL}){0,5}`
const ATOM = "[a-zA-Z0-9!#$%&'*+/=?^_`{|}~-]{1,20}"
const EMAIL = `${ATOM}(?:\\.${ATOM}){0,2}@${LABEL}(?:\\.${LABEL}){1,3}`

const PCHAR = "(?:[a-zA-Z0-9._~!$&'()*+,;=:@-]|%[0-9a-fA-F]{2})"
const AFTER = `(?:\\?(?:${PCHAR}|[/?])*)?(?:#(?:${PCHAR}|[/?])*)?`
const URI = `[a-zA-Z][a-zA-Z0-9+.-]*:(?://${HOSTNAME}(?::\\d{1,5})?(?:/${PCHAR}*)*|${PCHAR}+(?:/${PCHAR}*)*)${AFTER}`

export const FORMATS: ReadonlyMap<string, string> = new Map(
  Object.entries({
    date: DAYS,
    time: TIME,
    'date-time': `${DAYS}T${TIME}`,
    duration: `P(?:${N}W|${CALENDAR}(?:${CLOCK})?|${CLOCK})`,
    uuid: '[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}',
    ipv4: IPV4,
    ipv6: IPV6,
    email: EMAIL,
    hostname: HOSTNAME,
    uri: URI,
  }),
)
