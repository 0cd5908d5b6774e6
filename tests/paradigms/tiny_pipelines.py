"""Tiny random pipelines of every family, saved as real ones are; their tokenizers' vocabulary is made up here."""

import re

import diffusers as d
import torch
import transformers as t
from diffusers.pipelines.deprecated.unclip.text_proj import UnCLIPTextProjModel

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


def sd2():
    tokenizer = clip_tokenizer(pad="!")
    pipeline = sd14()
    return d.StableDiffusionPipeline(
        **{
            **pipeline.components,
            "tokenizer": tokenizer,
            "text_encoder": t.CLIPTextModel(clip_config(16, tokenizer)),
            "unet": unet(layers_per_block=1, attention_head_dim=(2, 4, 4, 4), use_linear_projection=True),
            "scheduler": d.DDIMScheduler(prediction_type="v_prediction", clip_sample=False),
        },
        requires_safety_checker=False,
    )


def sdxl():
    first, second = clip_tokenizer(), clip_tokenizer(pad="!")
    return d.StableDiffusionXLPipeline(
        vae=vae(force_upcast=False),
        text_encoder=t.CLIPTextModel(clip_config(8, first)),
        text_encoder_2=t.CLIPTextModelWithProjection(clip_config(12, second, projection=10)),
        tokenizer=first,
        tokenizer_2=second,
        unet=unet(
            sample_size=8,
            block_out_channels=(8, 16, 16),
            layers_per_block=1,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=(1, 1, 2),
            cross_attention_dim=20,
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=4,
            projection_class_embeddings_input_dim=6 * 4 + 10,
        ),
        scheduler=d.EulerDiscreteScheduler(beta_schedule="scaled_linear"),
        add_watermarker=False,
    )


def kandinsky22():
    tokenizer = clip_tokenizer()
    vision = t.CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=32,
        patch_size=16,
        projection_dim=16,
    )
    prior = d.PriorTransformer(num_attention_heads=2, attention_head_dim=8, embedding_dim=16, num_layers=1)
    # At the default of 0 every embedding is the same.
    prior.clip_std.data.fill_(1)
    return {
        "model": d.KandinskyV22Pipeline(
            unet=unet(
                sample_size=8,
                out_channels=8,
                block_out_channels=(8, 16),
                layers_per_block=1,
                down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
                mid_block_type="UNetMidBlock2DSimpleCrossAttn",
                up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
                encoder_hid_dim=16,
                encoder_hid_dim_type="image_proj",
                addition_embed_type="image",
                resnet_time_scale_shift="scale_shift",
            ),
            scheduler=d.DDPMScheduler(variance_type="learned_range"),
            movq=d.VQModel(
                block_out_channels=(32, 32, 32, 32),
                down_block_types=("DownEncoderBlock2D",) * 4,
                up_block_types=("UpDecoderBlock2D",) * 4,
                latent_channels=4,
                num_vq_embeddings=8,
                norm_type="spatial",
                vq_embed_dim=4,
            ),
        ),
        "prior": d.KandinskyV22PriorPipeline(
            prior=prior,
            image_encoder=t.CLIPVisionModelWithProjection(vision),
            text_encoder=t.CLIPTextModelWithProjection(clip_config(16, tokenizer)),
            tokenizer=tokenizer,
            scheduler=d.UnCLIPScheduler(prediction_type="sample", clip_sample_range=10.0),
            image_processor=t.CLIPImageProcessor(),
        ),
    }


def t5(width, tokenizer):
    return t.T5EncoderModel(
        t.T5Config(
            vocab_size=len(tokenizer), d_model=width, d_kv=4, d_ff=width, num_layers=1, num_heads=2, dropout_rate=0.5
        )
    )


def sd35():
    first, second, third = clip_tokenizer(), clip_tokenizer(pad="!"), t5_tokenizer()
    return d.StableDiffusion3Pipeline(
        transformer=d.SD3Transformer2DModel(
            sample_size=8,
            patch_size=2,
            in_channels=16,
            out_channels=16,
            num_layers=3,
            attention_head_dim=8,
            num_attention_heads=2,
            joint_attention_dim=24,
            caption_projection_dim=16,
            pooled_projection_dim=18,
            pos_embed_max_size=8,
            dual_attention_layers=(0,),
            qk_norm="rms_norm",
        ),
        scheduler=d.FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=vae(16, shift_factor=0.06, use_quant_conv=False, use_post_quant_conv=False),
        text_encoder=t.CLIPTextModelWithProjection(clip_config(8, first)),
        tokenizer=first,
        text_encoder_2=t.CLIPTextModelWithProjection(clip_config(12, second, projection=10)),
        tokenizer_2=second,
        text_encoder_3=t5(24, third),
        tokenizer_3=third,
    )


def flux():
    first, second = clip_tokenizer(), t5_tokenizer()
    return d.FluxPipeline(
        transformer=d.FluxTransformer2DModel(
            in_channels=64,
            num_layers=2,
            num_single_layers=2,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=16,
            pooled_projection_dim=8,
            axes_dims_rope=(4, 4, 8),
        ),
        scheduler=d.FlowMatchEulerDiscreteScheduler(),
        vae=vae(16, shift_factor=0.06, use_quant_conv=False, use_post_quant_conv=False),
        text_encoder=t.CLIPTextModel(clip_config(8, first)),
        tokenizer=first,
        text_encoder_2=t5(16, second),
        tokenizer_2=second,
    )


def pixart():
    tokenizer = t5_tokenizer()
    return d.PixArtAlphaPipeline(
        tokenizer=tokenizer,
        text_encoder=t5(16, tokenizer),
        vae=vae(),
        transformer=d.PixArtTransformer2DModel(
            sample_size=8,
            patch_size=2,
            in_channels=4,
            out_channels=8,
            num_layers=2,
            num_attention_heads=2,
            attention_head_dim=8,
            cross_attention_dim=16,
            caption_channels=16,
        ),
        scheduler=d.DPMSolverMultistepScheduler(),
    )


def unclip():
    tokenizer = clip_tokenizer()
    prior = d.PriorTransformer(num_attention_heads=2, attention_head_dim=8, embedding_dim=16, num_layers=1)
    prior.clip_std.data.fill_(1)

    def super_resolution():
        return d.UNet2DModel(
            sample_size=32,
            in_channels=6,
            out_channels=3,
            block_out_channels=(8, 16),
            layers_per_block=1,
            down_block_types=("ResnetDownsampleBlock2D",) * 2,
            up_block_types=("ResnetUpsampleBlock2D",) * 2,
            add_attention=False,
            norm_num_groups=4,
        )

    return d.UnCLIPPipeline(
        prior=prior,
        decoder=unet(
            sample_size=16,
            in_channels=3,
            out_channels=6,
            block_out_channels=(8, 16),
            layers_per_block=1,
            down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
            mid_block_type="UNetMidBlock2DSimpleCrossAttn",
            up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
            resnet_time_scale_shift="scale_shift",
            class_embed_type="identity",
        ),
        text_encoder=t.CLIPTextModelWithProjection(clip_config(16, tokenizer)),
        tokenizer=tokenizer,
        text_proj=UnCLIPTextProjModel(clip_embeddings_dim=16, time_embed_dim=32, cross_attention_dim=16),
        super_res_first=super_resolution(),
        super_res_last=super_resolution(),
        prior_scheduler=d.UnCLIPScheduler(prediction_type="sample", clip_sample_range=5.0),
        decoder_scheduler=d.UnCLIPScheduler(variance_type="learned_range"),
        super_res_scheduler=d.UnCLIPScheduler(),
    )


BUILDERS = {
    "sd14": sd14,
    "sd2": sd2,
    "sdxl": sdxl,
    "kandinsky22": kandinsky22,
    "sd35": sd35,
    "flux": flux,
    "pixart": pixart,
    "unclip": unclip,
}


def save(family, folder):
    """Save the pipelines of ``family``; their directories by the argument of ``load``."""
    torch.manual_seed(0)
    built = BUILDERS[family]()
    pipelines = built if isinstance(built, dict) else {"model": built}
    for argument, pipeline in pipelines.items():
        pipeline.save_pretrained(folder / argument)
        index = folder / argument / "model_index.json"
        # As the published files have it, from before the class moved.
        index.write_text(re.sub(r'"diffusers",(\s*"UnCLIPTextProjModel")', r'"unclip",\1', index.read_text()))
    return {argument: str(folder / argument) for argument in pipelines}
