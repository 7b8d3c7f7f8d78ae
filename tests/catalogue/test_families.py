"""The tables of the catalogue are those of diffusers."""

import diffusers
from diffusers.image_processor import PixArtImageProcessor

from batch.catalogue import families, scheduler_names
from batch.catalogue.models import known_models
from batch.hub.models import find_model
from batch.manifest.values import Size


def test_bins_and_schedulers_are_those_of_diffusers():
    from diffusers.pipelines.pixart_alpha import pipeline_pixart_alpha as alpha
    from diffusers.pipelines.pixart_alpha import pipeline_pixart_sigma as sigma
    from diffusers.pipelines.sana import pipeline_sana as sana

    tables = {
        16: alpha.ASPECT_RATIO_512_BIN,
        32: alpha.ASPECT_RATIO_1024_BIN,
        64: sigma.ASPECT_RATIO_2048_BIN,
        128: sana.ASPECT_RATIO_4096_BIN,
    }
    models = {model.sample_size: model for model in known_models().values() if model.package}
    for sample, table in tables.items():
        model = models[sample]
        assert len(model.sizes()) >= len(table) - 2
        for width, height in [*model.sizes(), (3840, 2160), (1000, 1000), (500, 3000)]:
            found = PixArtImageProcessor.classify_height_width_bin(height, width, ratios=table)
            assert model.rendered(Size(width, height)) == (found[1], found[0])
    assert all(hasattr(diffusers, name) for name in scheduler_names.SCHEDULERS.values())


def test_extra_arguments_are_those_of_the_pipeline():
    import inspect

    call = inspect.signature(diffusers.SanaPipeline.__call__).parameters
    guided = inspect.signature(diffusers.SanaPAGPipeline.__call__).parameters
    made = inspect.signature(diffusers.SanaPAGPipeline.__init__).parameters
    for name, stage in families.FAMILIES["sana"].extra.items():
        assert name in ({**guided, **made} if stage == "pag" else call)


def test_the_overnight_model_renders_its_size_natively(work):
    model = find_model("sana-1.6b-4k", work, {}, online=False)
    assert model.rendered(Size(5376, 3072)) == (5376, 3072)
    assert model.revision == ""
