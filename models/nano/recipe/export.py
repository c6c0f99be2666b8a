"""A training checkpoint as a Hugging Face model folder: bf16 safetensors, written by hand, and the JSON files around it.

usage: python3 export.py CHECKPOINT [--out work/model]      (tokenizer.json is expected to be there already)
"""

import argparse
import json
import shutil
import struct
from pathlib import Path

import torch

from paths import NEW_MODEL, SHIPPED_MODEL
from tokenizer import SPECIALS, stays_visible

LONGEST_DOCUMENT = 1024  # tokens, in training
PAD, BOS, _, EOS = range(4)  # of SPECIALS


def write_safetensors(path, tensors, metadata):
    header, blobs, end = {"__metadata__": metadata}, [], 0
    for name, tensor in tensors.items():
        tensor = tensor.contiguous()
        is_bf16 = tensor.dtype == torch.bfloat16
        blob = (tensor.view(torch.int16) if is_bf16 else tensor).numpy().tobytes()
        header[name] = {
            "dtype": "BF16" if is_bf16 else "F32",
            "shape": list(tensor.shape),
            "data_offsets": [end, end + len(blob)],
        }
        blobs.append(blob)
        end += len(blob)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.writelines(blobs)


def named_tensors(state, config):
    """Hugging Face names, in the order of the layers; all bf16 but the router bias."""
    ffn = config["intermediate_size"]
    bf16 = lambda name: state[name].to(torch.bfloat16)
    tensors = {"model.embed_tokens.weight": bf16("embed")}
    for i in range(config["num_hidden_layers"]):
        ours, theirs = f"layers.{i}.", f"model.layers.{i}."
        attention, moe = theirs + "self_attn.", theirs + "block_sparse_moe."
        tensors[theirs + "input_layernorm.weight"] = bf16(ours + "input_norm")
        for name in "qkvo":
            tensors[f"{attention}{name}_proj.weight"] = bf16(ours + name)
        tensors[attention + "q_norm.weight"] = bf16(ours + "q_norm")
        tensors[attention + "k_norm.weight"] = bf16(ours + "k_norm")
        tensors[theirs + "post_attention_layernorm.weight"] = bf16(ours + "post_norm")
        tensors[moe + "gate.weight"] = bf16(ours + "gate")
        tensors[moe + "e_score_correction_bias"] = state[ours + "bias"].float()
        w13, w2 = bf16(ours + "w13"), bf16(ours + "w2")
        for e in range(config["num_local_experts"]):
            tensors[f"{moe}experts.{e}.w1.weight"] = w13[e, :ffn]
            tensors[f"{moe}experts.{e}.w3.weight"] = w13[e, ffn:]
            tensors[f"{moe}experts.{e}.w2.weight"] = w2[e]
    tensors["model.norm.weight"], tensors["lm_head.weight"] = bf16("norm"), bf16("head")
    return tensors


def config_json(config):
    return {
        "architectures": ["MiniMaxM2ForCausalLM"],
        "model_type": "minimax_m2",
        **config,
        "max_position_embeddings": LONGEST_DOCUMENT,
        "hidden_act": "silu",
        "attention_dropout": 0.0,
        "attn_type_list": [1] * config["num_hidden_layers"],
        "scoring_func": "sigmoid",
        "use_routing_bias": True,
        "use_qk_norm": True,
        "qk_norm_type": "per_layer",
        "tie_word_embeddings": False,
        "use_mtp": False,
        "bos_token_id": BOS,
        "eos_token_id": EOS,
        "pad_token_id": PAD,
        "torch_dtype": "bfloat16",
        "use_cache": True,
    }


def tokenizer_config_json():
    flags = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
    added = {str(i): {"content": s, **flags, "special": not stays_visible(s)} for i, s in enumerate(SPECIALS)}
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_bos_token": False,
        "add_eos_token": False,
        "clean_up_tokenization_spaces": False,
        "bos_token": SPECIALS[BOS],
        "eos_token": SPECIALS[EOS],
        "unk_token": SPECIALS[PAD],
        "pad_token": SPECIALS[PAD],
        "model_max_length": LONGEST_DOCUMENT,
        "added_tokens_decoder": added,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint")
    parser.add_argument("--out", type=Path, default=NEW_MODEL)
    options = parser.parse_args()

    checkpoint = torch.load(options.checkpoint)
    config = checkpoint["config"]
    tensors = named_tensors(checkpoint["model"], config)
    options.out.mkdir(parents=True, exist_ok=True)
    write_safetensors(options.out / "model.safetensors", tensors, {"format": "pt"})
    files = {
        "config.json": config_json(config),
        "generation_config.json": {"bos_token_id": BOS, "eos_token_id": EOS, "pad_token_id": PAD, "do_sample": False},
        "tokenizer_config.json": tokenizer_config_json(),
    }
    for name, content in files.items():
        (options.out / name).write_text(json.dumps(content, indent=2, ensure_ascii=False))
    shutil.copyfile(SHIPPED_MODEL / "chat_template.jinja", options.out / "chat_template.jinja")

    total = sum(tensor.numel() for tensor in tensors.values())
    expert = 3 * config["intermediate_size"] * config["hidden_size"]
    idle = config["num_local_experts"] - config["num_experts_per_tok"]
    active = total - config["num_hidden_layers"] * idle * expert
    print(
        f"{options.out}: {len(tensors)} tensors, {total / 1e6:.3f} M parameters, {active / 1e6:.3f} M active,", end=" "
    )
    print(f"embedding and head included; {checkpoint['tokens']} tokens seen in {checkpoint['steps']} steps")


if __name__ == "__main__":
    main()
