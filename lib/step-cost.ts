/** What prompt tokens cost a step: 1 each, and 1 more for each `contextPerToken` tokens that they see. */

/** How many tokens behind `before` others, at least 1, cost no more than `budget`. */
export function tokensWithin(budget: number, before: number, contextPerToken: number): number {
  // n + (n before + n^2 / 2) / contextPerToken = budget, in the form that survives a contextPerToken of Infinity.
  const each = 1 + before / contextPerToken
  return Math.max(1, Math.floor((2 * budget) / (each + Math.sqrt(each ** 2 + (2 * budget) / contextPerToken))))
}

/** What `count` tokens behind `before` others cost. */
export function costOf(count: number, before: number, contextPerToken: number): number {
  return count + (count * (before + count / 2)) / contextPerToken
}
