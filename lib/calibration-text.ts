/** What scales of an FP8 cache are found with: the turns of an agent, with instructions, tools, code, numbers, prose and several languages. */
import type { ChatMessage } from './text/messages'
import type { ToolDefinition } from './text/tools'

export const CALIBRATION_TOOLS: ToolDefinition[] = [
  {
    name: 'read_file',
    description: 'Returns the text of a file. Lines are numbered from 1.',
    parameters: {
      type: 'object',
      properties: { path: { type: 'string' }, first_line: { type: 'integer', default: 1 } },
      required: ['path'],
    },
  },
  {
    name: 'run',
    description: 'Runs a shell command and returns its output and exit status.',
    parameters: { type: 'object', properties: { command: { type: 'string' } }, required: ['command'] },
  },
]

const CODE = `export function median(values: readonly number[]): number {
  if (values.length === 0) throw new RangeError('median: expected at least one value')
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}`

export const CALIBRATION_CHAT: ChatMessage[] = [
  {
    role: 'system',
    content: `You are a careful assistant for a small team of programmers. Answer briefly. Read a file before you change it, run the tests
after each change, and say what you did not check. Today is Tuesday, 14 March 2023; the office is in Utrecht.`,
  },
  {
    role: 'user',
    content:
      'The mean of our timings jumps about. Can you look at src/stats.ts and use the median? What is 47 + 38, by the way?',
  },
  {
    role: 'assistant',
    reasoning_content: 'I should read the file first. The sum is easy: 47 + 38 = 85.',
    content: '47 + 38 = 85. Let me look at the file.',
    tool_calls: [{ id: 'call_1', name: 'read_file', arguments: { path: 'src/stats.ts', first_line: 1 } }],
  },
  {
    role: 'tool',
    tool_call_id: 'call_1',
    content: `1  // Means of timings, in microseconds.
2  #include <vector>
3  double mean(const std::vector<double>& v) { double s = 0; for (double x : v) s += x; return s / v.size(); }
4  def mean(v): return sum(v) / len(v)  # the same in Python
5  {"name": "stats", "version": "1.4.2", "timings": [12.75, 13.1, 981.0, 12.9, 0.00031, -4e-7], "ok": true, "note": null}`,
  },
  {
    role: 'assistant',
    reasoning_content:
      'One outlier of 981 among values near 13 explains the jumps. The median ignores it. An even number of values needs the mean of the middle two.',
    content: `One timing of 981 among values near 13 moves the mean; the median would stay at 12.9. This does it:\n\n${CODE}`,
    tool_calls: [{ id: 'call_2', name: 'run', arguments: { command: 'npm test -- --reporter=dot 2>&1 | tail -n 20' } }],
  },
  {
    role: 'tool',
    tool_call_id: 'call_2',
    content: `FAIL test/stats.test.ts > median > of nothing
AssertionError: expected [Function] to throw 'median: no values' but got 'median: expected at least one value'
    at test/stats.test.ts:18:31
Tests  1 failed | 41 passed (42)
exit status 1`,
  },
  {
    role: 'user',
    content: `Good. Before you fix the test, here is a note for the new colleagues; please keep its tone:

The river had been rising since Sunday. By the time the ferryman tied up his boat, the lower steps of the market were under water, and the
women who sold eggs had moved their tables to the church porch. Nobody was much alarmed; it happened every spring. "It will be gone by
Friday," said the baker, who had said so every year since the flood that took his father's mill, and who had been right each time but one.

Deutsch: Der Zug nach Hamburg hat heute ungefähr zwanzig Minuten Verspätung; wir bitten um Ihr Verständnis.
Français : La bibliothèque est fermée le lundi, mais l'on peut rendre les livres à toute heure dans la boîte près de l'entrée.
Español: ¿Cuánto cuesta el billete de ida y vuelta? Depende del día: entre doce y dieciocho euros.
Русский: Завтра утром обещают снег, поэтому лучше выехать пораньше.
中文：请把会议改到星期四下午三点，并通知所有参加的人。图书馆的二楼有安静的座位。
日本語：明日の朝までに資料を送っていただけますか。駅から歩いて五分ほどです。
العربية: سنلتقي أمام المحطة في الساعة السادسة مساءً.
हिन्दी: कृपया दरवाज़ा बंद कर दीजिए, बाहर बहुत ठंड है।

| id | name   |  price | left |
|----|--------|-------:|-----:|
| 17 | lamp   |  24.90 |    3 |
| 18 | carpet | 310.00 |   12 |

$$\\int_0^1 x^2\\,dx = \\tfrac13$$  SELECT name, SUM(price * left) AS total FROM items WHERE id >= 17 GROUP BY name;`,
  },
  {
    role: 'assistant',
    reasoning_content:
      'The test expects another message. The message in the code says more, so the test should change. I must not touch the note.',
    content:
      'I leave the note as it is. The message of the code says what was expected, so I change line 18 of the test to it; 42 tests should pass then. ' +
      'Not checked: whether another package relies on the old message. 🙂',
  },
]
