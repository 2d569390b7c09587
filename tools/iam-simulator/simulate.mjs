// Decides requests: a line of JSON on standard input is a request with its policies, a line of JSON
// on standard output is the decision. Ends when standard input does.

import { createInterface } from 'node:readline'
import { runSimulation } from '@cloud-copilot/iam-simulate'

for await (const line of createInterface({ input: process.stdin })) {
  const answer = await runSimulation(JSON.parse(line), { simulationMode: 'Strict' })
  console.log(
    JSON.stringify({
      decision: answer.overallResult ?? null,
      // A key that AWS does not give for this action would make a condition say nothing.
      ignored: answer.result?.ignoredContextKeys ?? [],
      errors: answer.errors ?? null
    })
  )
}
