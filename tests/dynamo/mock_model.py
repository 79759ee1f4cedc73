"""Writes the tiny model of tests/vllm with the further files that Dynamo needs.

    PYTHONPATH=tests/vllm python mock_model.py FOLDER

Dynamo's mock engine generates tokens between 1000 and 2000, so the tokenizer has words for all of
them: a token without a word is no text, and the frontend counts a request as queued until its first
text. The frontend requires an end-of-sequence token; the engine never generates it.
"""

import json
import sys
from pathlib import Path

import tiny_model

WORDS = 2047  # with the unknown one, which ends nothing

tiny_model.WORDS = WORDS
tiny_model.CONFIG["vocab_size"] = 1 + WORDS
tiny_model.main()
(Path(sys.argv[1]) / "generation_config.json").write_text(json.dumps({"eos_token_id": 0}) + "\n")
