"""The official openai client, unchanged, against the local edge.

    .venv/bin/python docs/openai_client.py

It reads the domain's key from the stack's outputs; an application gets it from its secret store.
"""

from openai import OpenAI

from stacks.cli.project import Project
from stacks.driver import read_outputs

DOMAIN = "bank-ledger"
QUESTION = "COBOL: ADD WS-LOAN-FEE TO WS-CARD-BALANCE GIVING WS-NEW-TOTAL ROUNDED."


def main() -> None:
    """Ask three ways: plain, streamed, and as the guide does, by `lora_name`."""
    outputs = read_outputs(f"local-{DOMAIN}", Project.default().state)
    client = OpenAI(base_url=outputs["edge_url"], api_key=outputs["key"])
    messages = [{"role": "user", "content": QUESTION}]

    plain = client.chat.completions.create(
        model="slm",
        messages=messages,  # type: ignore[arg-type]
        max_tokens=96,
        temperature=0,
        extra_headers={"X-Customer-Domain": DOMAIN},
    )
    print(f"{plain.model}: {plain.choices[0].message.content}")

    print("streamed: ", end="")
    for chunk in client.chat.completions.create(
        model="slm",
        messages=messages,  # type: ignore[arg-type]
        max_tokens=96,
        temperature=0,
        stream=True,
        extra_headers={"X-Customer-Domain": "bank"},
    ):
        for choice in chunk.choices:
            print(choice.delta.content or "", end="", flush=True)
    print()

    guide = client.chat.completions.create(
        model="meta-llama/Llama-3.3-70B-Instruct",
        messages=messages,  # type: ignore[arg-type]
        max_tokens=96,
        temperature=0,
        extra_body={"lora_name": DOMAIN},
    )
    print(f"{guide.model}: {guide.choices[0].message.content}")


if __name__ == "__main__":
    main()
