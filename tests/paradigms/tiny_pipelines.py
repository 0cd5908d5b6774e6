"""Tiny random pipelines of every family, saved as real ones are; their tokenizers' vocabulary is made up here."""

import diffusers as d
import torch
import transformers as t

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def clip_tokenizer(pad="<|endoftext|>"):
    """A CLIP tokenizer that knows letters only."""
    words = [*LETTERS, "!", ",", ".", *(letter + "</w>" for letter in LETTERS), "!</w>", ",</w>", ".</w>"]
    vocab = {word: i for i, word in enumerate([*words, "<|startoftext|>", "<|endoftext|>"])}
    return t.CLIPTokenizer(vocab=vocab, merges=[], pad_token=pad, model_max_length=77)


def t5_tokenizer():
    """A T5 tokenizer that knows letters only."""
    vocab = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -1.0), *((letter, -2.0) for letter in LETTERS)]
    return t.T5TokenizerFast(vocab=vocab, extra_ids=0, model_max_length=32)


def clip_config(width, tokenizer, projection=None, layers=2, **more):
    return t.CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=width,
        num_hidden_layers=layers,
        num_attention_heads=2,
        max_position_embeddings=77,
        projection_dim=projection or width,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **more,
    )


def vae(channels=4, **more):
    return d.AutoencoderKL(
        block_out_channels=(4, 4, 4, 4),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=channels,
        norm_num_groups=2,
        layers_per_block=1,
        **more,
    )


def unet(**more):
    defaults = {
        "sample_size": 16,
        "in_channels": 4,
        "out_channels": 4,
        "block_out_channels": (8, 16, 16, 16),
        "layers_per_block": 2,
        "norm_num_groups": 4,
        "cross_attention_dim": 16,
        "attention_head_dim": 4,
    }
    return d.UNet2DConditionModel(**{**defaults, **more})


def sd14():
    tokenizer = clip_tokenizer()
    return d.StableDiffusionPipeline(
        vae=vae(),
        text_encoder=t.CLIPTextModel(clip_config(16, tokenizer)),
        tokenizer=tokenizer,
        unet=unet(),
        scheduler=d.PNDMScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1, skip_prk_steps=True
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


BUILDERS = {"sd14": sd14}


def save(family, folder):
    """Save the pipelines of ``family``; their directories by the argument of ``load``."""
    torch.manual_seed(0)
    built = BUILDERS[family]()
    pipelines = built if isinstance(built, dict) else {"model": built}
    for argument, pipeline in pipelines.items():
        pipeline.save_pretrained(folder / argument)
    return {argument: str(folder / argument) for argument in pipelines}
