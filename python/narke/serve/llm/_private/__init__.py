"""Inside of `narke.serve.llm`: engines and what they share."""
