"""Texts in the shape that other programs give them, and the axes they are."""

import json

SETTINGS = "Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 965400086, Size: 512x512"
PLAIN = f"a fox\nNegative prompt: fog\n{SETTINGS}, Model hash: 45dee52b, Model: sd15"
BASE = {
    "model": "sd15", "prompt": "a fox", "negative_prompt": "fog", "seed": 965400086, "size": "512x512",
    "steps": 20, "guidance": 7.0, "scheduler": "euler-a",
}  # fmt: skip


def without(*names, **changes):
    return {key: value for key, value in BASE.items() if key not in names} | changes


A1111 = {
    "plain": (PLAIN, BASE),
    "line ends of windows": (PLAIN.replace("\n", "\r\n"), BASE),
    "lines of a template": (f"{PLAIN}\nTemplate: a {{fox|whale}}\nNegative Template: __bad__", BASE),
    "template inside": (f'{PLAIN}, Template: "a {{fox|whale}}, Seed: 3", Wildcard prompt: "__animal__, x"', BASE),
    "empty prompt": (PLAIN.removeprefix("a fox\n"), without(prompt=".")),
    "only settings": (f"{SETTINGS}, Model: sd15", without(prompt=".", negative_prompt="")),
    "lora alone": (PLAIN.replace("a fox", "<lora:fur:0.8>"), without(prompt=".")),
    "loras between": (PLAIN.replace("a fox", "a <lora:fur:0.8> fox <lora:b:1>"), BASE),
    "no size": (PLAIN.replace(", Size: 512x512", ""), without("size")),
    "no seed": (PLAIN.replace(", Seed: 965400086", ""), without("seed")),
    "no sampler": (PLAIN.replace("Sampler: Euler a, ", ""), without("scheduler")),
    "no model": (PLAIN.replace(", Model: sd15", ""), without("model")),
    "blanks in size": (PLAIN.replace("512x512", "512 x 512"), BASE),
    "schedule apart": (
        PLAIN.replace("Euler a", "DPM++ 2M, Schedule type: Karras"),
        without(scheduler="dpm++(use_karras_sigmas=true)"),
    ),
    "schedule automatic": (
        PLAIN.replace("Euler a", "DPM++ 2M SDE, Schedule type: Automatic"),
        without(scheduler="dpm++(algorithm_type=sde-dpmsolver++, use_karras_sigmas=true)"),
    ),
    "quotes": (PLAIN.replace("Model: sd15", 'Model: "v1, \\"5\\""'), without(model='v1, "5"')),
    "several lines": (PLAIN.replace("fog", "fog,\nrain").replace("a fox", "a fox,\n\nat night"),
                      without(prompt="a fox,\n\nat night", negative_prompt="fog,\nrain")),
    "colons in the prompt": (PLAIN.replace("a fox", "Title: a fox, Steps: many"),
                             without(prompt="Title: a fox, Steps: many")),
    "line ends lost": (PLAIN.replace("\n", " "), BASE),
    "hires": (
        f"{PLAIN}, Denoising strength: 0.5, Hires upscale: 2, Hires steps: 10, Hires upscaler: Latent, "
        'Hires prompt: "a fox, sharp"', BASE,
    ),
    "extensions": (
        f'{PLAIN}, ADetailer model: face_yolov8n.pt, ADetailer prompt: "a face, Seed: 1", ControlNet 0: "Module: '
        'canny, Model: x [1], Weight: 1", TI hashes: "bad: 1a2b, worse: 3c", Lora hashes: "fur: 1a, b: 2c", '
        "Version: v1.10.1", BASE,
    ),
    "sd.next": (
        "a fox\nNegative prompt: fog\nSteps: 20, Seed: 965400086, Sampler: Euler a, CFG scale: 7, Size: 512x512, "
        "Parser: Full parser, Model: sd15, Model hash: 1a, Backend: Diffusers, App: SD.Next, Operations: txt2img",
        BASE,
    ),
    "civitai": (
        'a fox\nNegative prompt: fog\nSteps: 20, CFG scale: 7, Sampler: Euler a, Seed: 965400086, Size: 512x512, '
        'Model: sd15, Civitai resources: [{"type":"checkpoint","modelVersionId":1,"weight":1}], '
        "Civitai metadata: {}", BASE,
    ),
    "forge with flux": (
        "a fox\nSteps: 20, Sampler: Euler, Schedule type: Simple, CFG scale: 1, Distilled CFG Scale: 3.5, "
        "Seed: 965400086, Size: 512x512, Model: flux1-dev", without(
            model="flux1-dev", negative_prompt="", guidance=3.5, scheduler="euler"),
    ),
    "a seed of a program": (PLAIN.replace("965400086", "-1"), without("seed")),
    "a seed of none": (PLAIN.replace("965400086", "None"), without("seed")),
    "a size of one number": (PLAIN.replace("512x512", "512"), without("size")),
    "too many steps": (PLAIN.replace("Steps: 20", "Steps: 5000"), without("steps")),
}  # fmt: skip
"""Texts of A1111 and its siblings, and the axes they are."""

FOOOCUS = {
    "adm_guidance": "(1.5, 0.8, 0.3)", "base_model": "juggernautXL_v8", "base_model_hash": "aeb7e9e689",
    "full_negative_prompt": ["fog", "worst"], "full_prompt": ["a fox", "fox, cinematic"], "guidance_scale": 4.0,
    "lora_combined_1": "sd_xl_offset : 0.1", "loras": [["sd_xl_offset", 0.1, "4852686128"]],
    "metadata_scheme": "fooocus", "negative_prompt": "fog", "performance": "Speed", "prompt": "a fox",
    "refiner_model": "None", "refiner_switch": 0.5, "resolution": "(1152, 896)", "sampler": "dpmpp_2m_sde_gpu",
    "scheduler": "karras", "seed": "7", "sharpness": 2.0, "steps": 30, "styles": "['Fooocus V2']",
    "vae": "Default (model)", "version": "Fooocus v2.5.0",
}  # fmt: skip
FOOOCUS_AXES = {
    "model": "juggernautXL_v8", "prompt": "a fox", "negative_prompt": "fog", "seed": 7, "size": "1152x896",
    "steps": 30, "guidance": 4.0, "scheduler": "dpm++(algorithm_type=sde-dpmsolver++, use_karras_sigmas=true)",
}  # fmt: skip

SWARM = {
    "sui_image_params": {
        "prompt": "a fox", "negativeprompt": "fog", "model": "sdxl", "seed": 4, "steps": 25, "cfgscale": 7.0,
        "width": 832, "height": 1216, "sampler": "dpmpp_2m", "scheduler": "karras", "swarm_version": "0.9",
        "loras": ["fur"], "loraweights": ["0.8"],
    },
    "sui_models": [{"name": "sdxl", "param": "model"}],
}  # fmt: skip
SWARM_AXES = {
    "model": "sdxl", "prompt": "a fox", "negative_prompt": "fog", "seed": 4, "size": "832x1216", "steps": 25,
    "guidance": 7.0, "scheduler": "dpm++(use_karras_sigmas=true)",
}  # fmt: skip

NOVELAI = {
    "prompt": "a fox", "steps": 28, "height": 1216, "width": 832, "scale": 5.0, "uncond_scale": 0.0,
    "cfg_rescale": 0.2, "seed": 99, "n_samples": 1, "noise_schedule": "karras", "sampler": "k_euler_ancestral",
    "uc": "fog", "request_type": "PromptGenerateRequest", "signed_hash": "x",
}  # fmt: skip
NOVELAI_V4 = NOVELAI | {
    "v4_prompt": {"caption": {"base_caption": "a fox", "char_captions": [{"char_caption": "red", "centers": []}]}},
    "v4_negative_prompt": {"caption": {"base_caption": "fog", "char_captions": []}},
    "uc": "other",
}
NOVELAI_AXES = {
    "prompt": "a fox", "negative_prompt": "fog", "seed": 99, "size": "832x1216", "steps": 28, "guidance": 5.0,
    "scheduler": "euler-a(use_karras_sigmas=true)",
}  # fmt: skip

DRAW_THINGS = {
    "c": "a fox & <a whale>", "uc": "fog", "model": "sd_xl_base_1.0_f16.ckpt", "sampler": "DPM++ 2M Karras",
    "scale": 6.5, "seed": 12, "seed_mode": "Scale Alike", "size": "1024x768", "steps": 20, "strength": 1,
    "lora": [{"model": "fur.ckpt", "weight": 0.8}], "v2": {"sampler": 0},
}  # fmt: skip
DRAW_THINGS_AXES = {
    "model": "sd_xl_base_1.0_f16.ckpt", "prompt": "a fox & <a whale>", "negative_prompt": "fog", "seed": 12,
    "size": "1024x768", "steps": 20, "guidance": 6.5, "scheduler": "dpm++(use_karras_sigmas=true)",
}  # fmt: skip


def node(kind, **inputs):
    return {"class_type": kind, "inputs": inputs, "is_changed": [float("nan")], "_meta": {"title": kind}}


COMFY = {
    "3": node("KSampler", seed=["20", 0], steps=30, cfg=5.5, sampler_name="dpmpp_2m", scheduler="karras",
              denoise=1.0, model=["10", 0], positive=["6", 0], negative=["7", 0], latent_image=["5", 0]),
    "4": node("CheckpointLoaderSimple", ckpt_name="sdxl\\base.safetensors"),
    "5": node("EmptyLatentImage", width=832, height=1216, batch_size=1),
    "6": node("CLIPTextEncode", text=["21", 0], clip=["10", 1]),
    "7": node("CLIPTextEncode", text="fog", clip=["10", 1]),
    "8": node("VAEDecode", samples=["3", 0], vae=["4", 2]),
    "9": node("SaveImage", filename_prefix="x", images=["8", 0]),
    "10": node("LoraLoader", lora_name="fur.safetensors", strength_model=0.8, strength_clip=1.0, model=["4", 0],
               clip=["4", 1]),
    "20": node("Seed (rgthree)", seed=42),
    "21": node("PrimitiveString", value="a fox"),
}  # fmt: skip
COMFY_AXES = {
    "model": "base.safetensors", "prompt": "a fox", "negative_prompt": "fog", "seed": 42, "size": "832x1216",
    "steps": 30, "guidance": 5.5, "scheduler": "dpm++(use_karras_sigmas=true)",
}  # fmt: skip

COMFY_FLUX = {
    "5": node("EmptySD3LatentImage", width=1024, height=768, batch_size=4),
    "6": node("CLIPTextEncodeFlux", clip_l="a fox", t5xxl="a fox", guidance=3.5, clip=["11", 0]),
    "11": node("DualCLIPLoader", clip_name1="a", clip_name2="b"),
    "12": node("UNETLoader", unet_name="flux1-dev.safetensors"),
    "13": node("SamplerCustomAdvanced", noise=["25", 0], guider=["22", 0], sampler=["16", 0], sigmas=["17", 0],
               latent_image=["5", 0]),
    "16": node("KSamplerSelect", sampler_name="euler"),
    "17": node("BasicScheduler", scheduler="simple", steps=20, denoise=1.0, model=["12", 0]),
    "22": node("BasicGuider", model=["12", 0], conditioning=["6", 0]),
    "25": node("RandomNoise", noise_seed=77),
}  # fmt: skip
COMFY_FLUX_AXES = {
    "model": "flux1-dev.safetensors", "prompt": "a fox", "negative_prompt": "", "seed": 77, "size": "1024x768",
    "steps": 20, "guidance": 3.5, "scheduler": "euler",
}  # fmt: skip

COMFY_TWO_PASSES = COMFY | {
    "1": node("KSampler", seed=1, steps=10, cfg=5.5, sampler_name="euler", scheduler="normal", denoise=0.4,
              model=["4", 0], positive=["6", 0], negative=["7", 0], latent_image=["30", 0]),
    "30": node("LatentUpscale", samples=["3", 0], width=1664, height=2432),
    "8": node("VAEDecode", samples=["1", 0], vae=["4", 2]),
}  # fmt: skip

COMFY_CONTROL = COMFY | {
    "3": node("KSamplerAdvanced", noise_seed=42, add_noise="enable", start_at_step=0, steps=30, cfg=5.5,
              sampler_name="dpmpp_2m", scheduler="karras", model=["4", 0], positive=["40", 0], negative=["40", 1],
              latent_image=["5", 0]),
    "40": node("ControlNetApplyAdvanced", positive=["41", 0], negative=["7", 0], strength=1.0),
    "41": node("ConditioningCombine", conditioning_1=["6", 0], conditioning_2=["42", 0]),
    "42": node("CLIPTextEncode", text="at night", clip=["4", 1]),
}  # fmt: skip

COMFY_EFFICIENT = {
    "1": node("Efficient Loader", ckpt_name="base.safetensors", positive="a fox", negative="fog",
              empty_latent_width=832, empty_latent_height=1216, batch_size=1),
    "3": node("KSampler (Efficient)", seed=42, steps=30, cfg=5.5, sampler_name="dpmpp_2m", scheduler="karras",
              denoise=0.6, model=["1", 0], positive=["1", 1], negative=["1", 2], latent_image=["1", 3]),
}  # fmt: skip

INVOKE = {
    "positive_prompt": "a fox", "negative_prompt": "fog", "seed": 5, "steps": 30, "cfg_scale": 6,
    "width": 1024, "height": 768, "scheduler": "dpmpp_2m_k", "model": {"name": "sdxl", "base": "sdxl"},
}  # fmt: skip
INVOKE_AXES = {
    "model": "sdxl", "prompt": "a fox", "negative_prompt": "fog", "seed": 5, "size": "1024x768", "steps": 30,
    "guidance": 6, "scheduler": "dpm++(use_karras_sigmas=true)",
}  # fmt: skip


def novelai(comment):
    return {
        "Title": "NovelAI generated image", "Description": comment["prompt"], "Software": "NovelAI",
        "Source": "Stable Diffusion XL 7BCCAA2C", "Comment": json.dumps(comment),
    }  # fmt: skip


PROGRAMS = {
    "fooocus": ({"parameters": json.dumps(FOOOCUS), "fooocus_scheme": "fooocus"}, FOOOCUS_AXES),
    "fooocus as a1111": (
        {"parameters": "a fox, cinematic\nNegative prompt: fog, worst\nSteps: 30, Sampler: DPM++ 2M SDE Karras, "
         "Seed: 7, Size: 1152x896, CFG scale: 4, Sharpness: 2, ADM Guidance: \"(1.5, 0.8, 0.3)\", Model: "
         "juggernautXL_v8, Model hash: aeb7e9e689, Performance: Speed, Scheduler: karras, VAE: Default (model), "
         "Raw prompt: a fox, Raw negative prompt: fog, Version: Fooocus v2.5.0", "fooocus_scheme": "a1111"},
        FOOOCUS_AXES,
    ),
    "swarmui": ({"parameters": json.dumps(SWARM)}, SWARM_AXES),
    "novelai": (novelai(NOVELAI), NOVELAI_AXES),
    "novelai 4": (novelai(NOVELAI_V4), NOVELAI_AXES),
    "comfyui": ({"prompt": json.dumps(COMFY), "workflow": '{"nodes": []}'}, COMFY_AXES),
    "comfyui with flux": ({"prompt": json.dumps(COMFY_FLUX)}, COMFY_FLUX_AXES),
    "comfyui, two passes": ({"prompt": json.dumps(COMFY_TWO_PASSES)}, COMFY_AXES),
    "comfyui with controlnet": (
        {"prompt": json.dumps(COMFY_CONTROL)}, COMFY_AXES | {"prompt": "a fox\nat night"},
    ),
    "comfyui with a loader of all": ({"prompt": json.dumps(COMFY_EFFICIENT)}, COMFY_AXES),
    "invokeai": ({"invokeai_metadata": json.dumps(INVOKE)}, INVOKE_AXES),
    "another key": ({"Description": PLAIN}, BASE),
}  # fmt: skip
"""Texts of PNG by their keys, and the axes they are."""
