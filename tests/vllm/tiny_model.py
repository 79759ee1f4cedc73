"""Writes a model that is as small as vLLM accepts: a Qwen3 of two layers, a tokenizer of words.

    python tiny_model.py FOLDER

There are no weights: `--load-format dummy` generates the same random ones at every start. The
model's text is nonsense, but its numbers of tokens are exact. The tokenizer has 511 made-up words
of one token each, and counts every other word as one unknown token, so a prompt of 1500 words has
1500 tokens. There is no end-of-sequence token: a request gets as many tokens as it requests.
"""

import json
import sys
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers

UNKNOWN = "<unk>"
WORDS = 511  # with the unknown one as many as the model can say

CONFIG = {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "torch_dtype": "bfloat16",
    "hidden_act": "silu",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 32,
    "max_position_embeddings": 32768,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1000000.0,
    "tie_word_embeddings": True,
    "vocab_size": 1 + WORDS,
    "bos_token_id": None,
    "eos_token_id": None,
}

TOKENIZER_CONFIG = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "model_max_length": CONFIG["max_position_embeddings"],
    "unk_token": UNKNOWN,
    "clean_up_tokenization_spaces": False,
    "chat_template": "{% for message in messages %}{{ message['role'] }} {{ message['content'] }} {% endfor %}assistant",
}


def tokenizer() -> Tokenizer:
    """Returns a tokenizer with one token for each word between spaces."""
    words = [UNKNOWN, *(f"w{number:03}" for number in range(WORDS))]
    made = Tokenizer(models.WordLevel({word: token for token, word in enumerate(words)}, unk_token=UNKNOWN))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.add_special_tokens([UNKNOWN])
    return made


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")
    (folder / "tokenizer_config.json").write_text(json.dumps(TOKENIZER_CONFIG, indent=2) + "\n")
    tokenizer().save(str(folder / "tokenizer.json"))


if __name__ == "__main__":
    main()
