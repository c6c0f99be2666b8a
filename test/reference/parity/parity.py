"""The reference model of the tests against transformers' MiniMaxM2ForCausalLM: see write.ts.

Everything is computed in float64 where transformers does not insist on float32, which leaves differences of some 1e-6. A formula that differs
(rotation, norms, routing) shows as 1e-2 and more.
"""

import json
import sys
from pathlib import Path

import torch
import transformers

BOUND = 1e-4  # of the relative Frobenius error of all logprobs


def error(folder):
    case = json.loads((folder / "parity.json").read_text())
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").double().eval()
    with torch.no_grad():
        got = model(input_ids=torch.tensor([case["prompt"]])).logits[0].double().log_softmax(-1)
    want = torch.tensor(case["logprobs"], dtype=torch.float64)
    return type(model).__name__, float((got - want).norm() / want.norm())


def main():
    folders = sorted(file.parent for file in Path(sys.argv[1]).glob("*/parity.json"))
    if not folders:
        sys.exit(f"{sys.argv[1]}: expected folders that write.ts wrote, found none")
    print(f"transformers {transformers.__version__}, torch {torch.__version__}")
    failed = 0
    for folder in folders:
        name, relative = error(folder)
        failed += not relative <= BOUND
        print(f"{folder.name}: {name}, relative error {relative:.2e}, {'ok' if relative <= BOUND else 'FAILED'}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
