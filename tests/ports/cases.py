"""What is wrong with each pair of torch_models.py and keras_models.py: the answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

# In float64 two right models differ by rounding alone: some 1e-15 of values near 1,
# grown by what batch norm divides by (the smallest deviation here is 0.007).
ROUNDING = 1e-10
# Keras's `gelu` has its roots in float32: exact 4e-9, tanh 3e-10, of values near 3.
GELU = 1e-7
# TensorFlow keeps the slope of a leaky ReLU in float32: .1 is off by 1.5e-9.
SLOPE = 1e-7
# Keras keeps the factor of Rescaling in float32: 1 / 255 is off by 2e-8 of itself,
# which is 3e-9 behind pixels 0 to 255.
SCALED = 1e-7
# TensorFlow resizes bilinearly in float32, whatever it is given.
RESIZED = 1e-5
# Sums of some dozen products near 1, in float32.
SINGLE = 1e-5
# Keras keeps a learning rate in float32: .05 is off by 1.5e-8 of itself, and so is
# each update.  Of the largest update of a tensor.
RATE = 1e-7
# PyTorch's `clip_grad_norm_` adds 1e-6 to the norm, Keras does not; norms here are
# above .1.
CLIPPED = 1e-5
# A mistake has to show: the smallest here is 1e-8 of a variance of 1e-4.
SEEN = 1e-6

CAUSES = [
    "eps",
    "statistics",
    "padding",
    "pool-border",
    "ceil-mode",
    "flatten-order",
    "channel-order",
    "pixel-scale",
    "gelu",
    "slope",
    "softmax",
    "dropout",
    "kernel",
    "gates",
    "resize",
    "groups",
    "bias",
    "stride",
    "activation",
    "dilation",
    "order",
    "layer",
    "axis",
    "reset",
    "scale",
    "mask",
    "return",
    "lrn-alpha",
    "lrn-size",
    "lrn-offset",
    "pool-kind",
    "affine",
]


@dataclass(frozen=True, kw_only=True)
class Case:
    """A pair, and what `twintrack port` is to say of it.

    Attributes:
        name: Of the factory or class in both files.
        input: Shape in PyTorch's layout, with the batch.
        cause: Name of the hypothesis that holds; None if the pair is right.
        layer_torch: Path of the first module that parts; "" if it is an operation in
            `forward`, which `op` names, or if the module is missing.
        layer_keras: Name of the first layer that parts; "" as above, `op_keras`.
        also: Other modules or layers that may be named with the same right: the ones
            next to an operation without a layer, or fused with it.
        weights: "torch" if they are carried across from the original; "own" if each
            model brings its own, and the user's conversion is judged.
        detail: What the port has and what is right.
        mended: Arguments of the port that mend it.
        mended_torch: Arguments of the original, where the mistake is there.
        tokens: Size of the vocabulary, if the input is integers below it.
        channels_first: If PyTorch has the channels behind the batch, Keras last.
        float64: If every layer of Keras computes in float64 (no 3d pool does).
        tolerance: Largest absolute difference of right outputs.
    """

    name: str
    input: tuple[int, ...]
    cause: str | None = None
    layer_torch: str = ""
    layer_keras: str = ""
    op: str = ""
    op_keras: str = ""
    also: tuple[str, ...] = ()
    weights: Literal["torch", "own"] = "torch"
    detail: str = ""
    mended: Mapping[str, Any] = field(default_factory=dict)
    mended_torch: Mapping[str, Any] = field(default_factory=dict)
    tokens: int | None = None
    channels_first: bool = True
    float64: bool = True
    tolerance: float = ROUNDING


@dataclass(frozen=True, kw_only=True)
class Training:
    """A model, an optimizer and a loss of both trainings, and where they part.

    Attributes:
        name: Of the case.
        model: Name of the model's factory in both files.
        optimizer: Name of the optimizer's factory in both files.
        loss: Name of the loss's factory in both files.
        causes: Names of the hypotheses that hold; more than one if defaults part in
            more than one way.
        first: What parts first.
        step: In which step, from 1.
        tensor: Which buffer, if it is one.
        detail: What the port has and what is right.
        mended: Factory, "model", "optimizer" or "loss", and what mends it: arguments.
        mended_torch: Arguments of the original's optimizer, where the mistake is there.
        tolerance: What right trainings part by in each step, of a tensor's largest
            update (weights) or value.
    """

    name: str
    model: str = "mlp"
    optimizer: str = "sgd"
    loss: str = "cross_entropy"
    causes: tuple[str, ...] = ()
    first: Literal["loss", "gradient", "weights", "buffers"] | None = None
    step: int = 1
    tensor: str = ""
    detail: str = ""
    mended: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    mended_torch: Mapping[str, Any] = field(default_factory=dict)
    tolerance: float = RATE


PICTURES = (4, 3, 12, 10)
# ImageNet's, as the models have them.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SERIES = {"input": (4, 7, 5), "channels_first": False}
STEPS = {"input": (4, 6, 8), "channels_first": False}

FAULTY = (
    Case(
        name="eps_second_norm",
        input=PICTURES,
        cause="eps",
        layer_torch="4",
        layer_keras="batch_normalization_1",
        detail="1e-3, Keras's default; 1e-5 is right",
        mended={"epsilon": 1e-5},
    ),
    Case(
        name="eps_layer_norm",
        **STEPS,
        cause="eps",
        layer_torch="norm",
        layer_keras="norm",
        detail="1e-3, Keras's default; 1e-5 is right",
        mended={"epsilon": 1e-5},
    ),
    Case(
        name="eps_applications",
        input=PICTURES,
        cause="eps",
        layer_torch="0.1",
        layer_keras="conv1_bn",
        detail="1.001e-5, copied from keras.applications; 1e-5 is right",
        mended={"epsilon": 1e-5},
    ),
    Case(
        name="eps_group_norm",
        input=PICTURES,
        cause="eps",
        layer_torch="gn2",
        layer_keras="gn2",
        detail="1e-3, Keras's default; 1e-5 is right",
        mended={"epsilon": 1e-5},
    ),
    Case(
        name="statistics_training_flag",
        input=PICTURES,
        cause="statistics",
        layer_torch="bn2",
        layer_keras="bn2",
        detail="called with training=True; the running statistics are right",
        mended={"training": False},
    ),
    Case(
        name="statistics_not_tracked",
        input=PICTURES,
        cause="statistics",
        layer_torch="bn2",
        layer_keras="bn2",
        detail="moving statistics; the original keeps none and takes the batch's",
        mended={"training": True},
    ),
    Case(
        name="padding_same_stride",
        input=PICTURES,
        cause="padding",
        layer_torch="2",
        layer_keras="conv2d_1",
        detail="same pads 0 and 1 of an even size; 1 and 1 are right",
        mended={"explicit": True},
    ),
    Case(
        name="padding_valid",
        input=PICTURES,
        cause="padding",
        layer_torch="conv2",
        layer_keras="block2",
        detail="valid; same is right",
        mended={"padding": "same"},
    ),
    Case(
        name="padding_max_pool",
        input=PICTURES,
        cause="padding",
        layer_torch="maxpool",
        layer_keras="maxpool",
        detail="same pads 0 and 1 of an even size; 1 and 1 are right",
        mended={"explicit": True},
    ),
    Case(
        name="padding_wrong_side",
        input=PICTURES,
        cause="padding",
        op="F.pad(x, (1, 0, 1, 0))",
        layer_keras="pad",
        also=("stem",),
        detail="below and to the right; above and to the left is right",
        mended={"sides": (1, 0)},
    ),
    Case(
        name="padding_transposed",
        input=PICTURES,
        cause="padding",
        layer_torch="2",
        layer_keras="up",
        detail="same crops the last row and column; the first ones are right",
        mended={"cropped": True},
    ),
    Case(
        name="padding_reflect",
        input=PICTURES,
        cause="padding",
        layer_torch="0",
        layer_keras="conv_a",
        detail="zeros; padding_mode reflect is right",
        mended={"reflect": True},
    ),
    Case(
        name="pool_border_odd",
        input=(4, 3, 15, 11),
        cause="pool-border",
        layer_torch="2",
        layer_keras="average_pooling2d",
        detail="same leaves padding out of the mean; the original counts it",
        mended={"explicit": True},
    ),
    Case(
        name="pool_border_branch",
        input=PICTURES,
        cause="pool-border",
        op="F.avg_pool2d(x, kernel_size=3, stride=1, padding=1)",
        layer_keras="branch_pool_avg",
        also=("mixed.branch_pool", "branch_pool"),
        detail="same leaves padding out of the mean; the original counts it",
        mended={"explicit": True},
    ),
    Case(
        name="pool_border_excluded",
        input=(4, 3, 15, 11),
        cause="pool-border",
        layer_torch="2",
        layer_keras="average_pooling2d",
        also=("zero_padding2d",),
        detail="ZeroPadding2D counts in the mean; count_include_pad=False does not",
        mended={"explicit": False},
    ),
    Case(
        name="ceil_mode_max",
        input=(4, 3, 14, 10),
        cause="ceil-mode",
        layer_torch="2",
        layer_keras="max_pooling2d",
        detail="6x4; ceil_mode makes 7x5",
        mended={"padded": True},
    ),
    Case(
        name="ceil_mode_functional",
        input=(4, 3, 13, 11),
        cause="ceil-mode",
        op="F.max_pool2d(x, 2, ceil_mode=True)",
        layer_keras="pool",
        also=("conv2", "conv2d_1"),
        detail="6x5; ceil_mode makes 7x6",
        mended={"padding": "same"},
    ),
    Case(
        name="flatten_missing_permute",
        input=PICTURES,
        cause="flatten-order",
        layer_torch="3",
        layer_keras="flatten",
        also=("4", "dense"),
        detail="(h, w, c); (c, h, w) is right",
        mended={"permuted": True},
    ),
    Case(
        name="flatten_view",
        input=(4, 1, 12, 16),
        cause="flatten-order",
        op="x.view(x.size(0), -1)",
        op_keras="ops.reshape(x, (n, -1))",
        also=("fc1", "dense"),
        detail="(h, w, c); (c, h, w) is right",
        mended={"transposed": True},
    ),
    Case(
        name="flatten_permute_wrong",
        input=(4, 3, 16, 12),
        cause="flatten-order",
        op="torch.flatten(x, 1)",
        layer_keras="channels_first",
        also=("flatten", "classifier.0", "fc1"),
        detail="(c, w, h); (c, h, w) is right",
        mended={"axes": (3, 1, 2)},
    ),
    Case(
        name="flatten_patches",
        input=(4, 3, 16, 12),
        cause="flatten-order",
        op="x.flatten(2).transpose(1, 2)",
        layer_keras="to_tokens",
        also=("norm", "permute"),
        detail="channels last reshaped as if they were first",
        mended={"channels_first": False},
    ),
    Case(
        name="channel_order_reversed",
        input=PICTURES,
        cause="channel-order",
        layer_torch="0.0",
        layer_keras="get_item",
        op_keras="x[..., ::-1]",
        also=("conv2d",),
        detail="BGR; RGB is right",
        mended={"bgr": False},
    ),
    Case(
        name="channel_order_torch",
        input=PICTURES,
        cause="channel-order",
        op="x[:, [2, 1, 0]]",
        layer_keras="conv2d",
        also=("conv1",),
        detail="RGB; BGR is right",
        mended={"bgr": True},
    ),
    Case(
        name="pixel_scale_rescaling",
        input=PICTURES,
        cause="pixel-scale",
        op="x / 127.5 - 1",
        layer_keras="rescaling",
        also=("conv1", "conv2d"),
        detail="0 to 1; -1 to 1 is right",
        mended={"scale": 1 / 127.5, "offset": -1.0},
        tolerance=SCALED,
    ),
    Case(
        name="pixel_scale_variance",
        input=PICTURES,
        cause="pixel-scale",
        layer_torch="0",
        layer_keras="imagenet",
        detail="the standard deviation as the variance; its square is right",
        mended={"squared": True},
    ),
    Case(
        name="gelu_functional",
        input=(4, 8),
        cause="gelu",
        layer_torch="1",
        op="F.gelu(x)",
        op_keras="ops.gelu(x)",
        also=("1.fc1", "1.fc2", "gelu_1", "dense_2", "dense_3"),
        detail="tanh, the default of keras.ops; exact is right",
        mended={"approximate": False},
        tolerance=GELU,
    ),
    Case(
        name="gelu_tanh",
        input=(4, 8),
        cause="gelu",
        layer_torch="1",
        layer_keras="dense",
        detail="exact, the default of activations; tanh is right",
        mended={"approximate": True},
        tolerance=GELU,
    ),
    Case(
        name="slope_default",
        input=PICTURES,
        cause="slope",
        layer_torch="3",
        layer_keras="leaky_re_lu_1",
        detail=".3, Keras's default; .01 is right",
        mended={"negative_slope": 0.01},
    ),
    Case(
        name="slope_string",
        input=PICTURES,
        cause="slope",
        op="F.leaky_relu(x, 0.1)",
        layer_keras="conv2",
        also=("conv2",),
        detail=".2, the default of activations; .1 is right",
        mended={"slope": 0.1},
        tolerance=SLOPE,
    ),
    Case(
        name="softmax_in_head",
        input=PICTURES,
        cause="softmax",
        layer_torch="3.2",
        layer_keras="dense",
        detail="probabilities; logits are right",
        mended={"activation": None},
    ),
    Case(
        name="softmax_twice",
        input=(4, 7),
        cause="softmax",
        layer_torch="2",
        layer_keras="dense_1",
        also=("3", "softmax"),
        detail="softmax of a softmax; one is right",
        mended={"activation": None},
    ),
    Case(
        name="activation_relu6",
        input=PICTURES,
        cause="activation",
        layer_torch="1.conv.5",
        layer_keras="depthwise_relu",
        detail="ReLU; ReLU6 is right",
        mended={"limit": 6.0},
    ),
    Case(
        name="activation_hardswish",
        input=PICTURES,
        cause="activation",
        layer_torch="2",
        layer_keras="activation",
        detail="swish; hard swish is right",
        mended={"activation": "hard_swish"},
    ),
    Case(
        name="dropout_training_flag",
        input=(4, 7),
        cause="dropout",
        layer_torch="drop",
        layer_keras="mc_dropout",
        detail="called with training=True; inactive is right",
        mended={"training": False},
    ),
    Case(
        name="dropout_functional",
        input=PICTURES,
        cause="dropout",
        op="F.dropout(x, 0.3)",
        layer_keras="dropout",
        also=("fc2", "dense_1"),
        detail="the original drops in evaluation: training=self.training is missing",
        mended_torch={"drop": False},
    ),
    Case(
        name="kernel_swapped",
        input=PICTURES,
        cause="kernel",
        weights="own",
        layer_torch="2",
        layer_keras="conv2",
        detail="axes (3, 2, 1, 0): height and width swapped; (2, 3, 1, 0) is right",
        mended={"axes": (2, 3, 1, 0)},
    ),
    Case(
        name="kernel_dense",
        input=(4, 7),
        cause="kernel",
        weights="own",
        layer_torch="2",
        layer_keras="dense_1",
        detail="a square kernel as it is; its transpose is right",
        mended={"transposed": True},
    ),
    Case(
        name="kernel_transposed",
        input=PICTURES,
        cause="kernel",
        weights="own",
        layer_torch="2",
        layer_keras="up",
        detail="axes (2, 3, 0, 1): in and out swapped; (2, 3, 1, 0) is right",
        mended={"axes": (2, 3, 1, 0)},
    ),
    Case(
        name="gates_lstm",
        **SERIES,
        cause="gates",
        weights="own",
        layer_torch="rnn",
        layer_keras="lstm",
        detail="i f o g; i f g o, as in the original, is right",
        mended={"order": (0, 1, 2, 3)},
    ),
    Case(
        name="gates_gru",
        **SERIES,
        cause="gates",
        weights="own",
        layer_torch="rnn",
        layer_keras="gru",
        detail="r z n, as in the original; z r n is right",
        mended={"order": (1, 0, 2)},
    ),
    Case(
        name="reset_gru",
        **SERIES,
        cause="reset",
        weights="own",
        layer_torch="rnn",
        layer_keras="gru",
        detail="reset_after=False; True, with both biases, is right",
        mended={"reset_after": True},
    ),
    Case(
        name="groups_interleaved",
        input=PICTURES,
        cause="groups",
        weights="own",
        layer_torch="2",
        layer_keras="conv2d_1",
        detail="the filters of two groups in turn; group after group is right",
        mended={"interleaved": False},
    ),
    Case(
        name="groups_shuffle",
        input=PICTURES,
        cause="groups",
        op="x.view(n, 4, c // 4, h, w).transpose(1, 2).reshape(n, c, h, w)",
        layer_keras="shuffle",
        also=("conv2", "gconv2"),
        detail="3 groups of 4 are shuffled; 4 groups of 3 are right",
        mended={"shape": (4, 3)},
    ),
    Case(
        name="resize_align_corners",
        input=PICTURES,
        cause="resize",
        op='F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)',
        layer_keras="up",
        also=("out",),
        detail="half-pixel centres; align_corners is right",
        mended={"aligned": True},
    ),
    Case(
        name="resize_nearest",
        input=PICTURES,
        cause="resize",
        layer_torch="2",
        layer_keras="up_sampling2d",
        detail="bilinear; nearest is right",
        mended={"interpolation": "nearest"},
    ),
    Case(
        name="resize_antialias",
        input=(4, 3, 16, 14),
        cause="resize",
        op='F.interpolate(x, size=(8, 6), mode="bilinear", antialias=True)',
        layer_keras="smaller",
        also=("conv", "conv2d"),
        detail="no antialias; antialias is right",
        mended={"antialias": True},
        tolerance=RESIZED,
    ),
    Case(
        name="bias_conv",
        input=PICTURES,
        cause="bias",
        layer_torch="2",
        layer_keras="conv2d_1",
        detail="no bias; the original has one",
        mended={"use_bias": True},
    ),
    Case(
        name="bias_hidden",
        input=(4, 7),
        cause="bias",
        layer_torch="layers.1",
        layer_keras="second",
        detail="no bias; the original has one",
        mended={"use_bias": True},
    ),
    Case(
        name="stride_bottleneck",
        input=PICTURES,
        cause="stride",
        layer_torch="1.conv1",
        layer_keras="block_1_conv",
        detail="the 1x1 convolution strides (v1); the 3x3 one is right (v1.5)",
        mended={"first": 1, "second": 2},
    ),
    Case(
        name="dilation_second",
        input=PICTURES,
        cause="dilation",
        layer_torch="2",
        layer_keras="conv2d_1",
        detail="1; 2 is right",
        mended={"rate": 2},
    ),
    Case(
        name="order_relu_norm",
        input=PICTURES,
        cause="order",
        layer_torch="1.1",
        layer_keras="conv2",
        also=("1.0", "1.2", "bn2"),
        detail="ReLU fused into the convolution, before the norm; after it is right",
        mended={"fused": False},
    ),
    Case(
        name="layer_norm_missing",
        input=PICTURES,
        cause="layer",
        layer_torch="1.bn2",
        also=("1", "block", "conv2", "1.conv2"),
        detail="no norm behind the second convolution of the block",
        mended={"second": True},
    ),
    Case(
        name="layer_pool_missing",
        input=PICTURES,
        cause="layer",
        layer_torch="5",
        also=("6", "conv2d_2"),
        detail="no second pool",
        mended={"pool": True},
    ),
    Case(
        name="layer_activation_missing",
        input=PICTURES,
        cause="layer",
        layer_torch="5",
        also=("4", "6", "dense", "dense_1"),
        detail="no ReLU behind the hidden layer",
        mended={"activation": "relu"},
    ),
    Case(
        name="pixel_scale_missing",
        input=PICTURES,
        cause="pixel-scale",
        op="x / 127.5 - 1",
        also=("conv1", "conv2d"),
        detail="pixels as they are; -1 to 1 is right",
        mended={"rescaled": True},
    ),
    Case(
        name="pixel_scale_means",
        input=PICTURES,
        cause="pixel-scale",
        layer_torch="0",
        layer_keras="imagenet",
        also=("conv",),
        detail="means and deviations as BGR; RGB is right",
        mended={"mean": MEAN, "std": STD},
    ),
    Case(
        name="lrn_alpha",
        input=PICTURES,
        cause="lrn-alpha",
        layer_torch="lrn",
        layer_keras="lrn",
        detail="alpha of the sum is .5; torch's .5 is of the mean of 5: .1 is right",
        mended={"alpha": 0.1},
        float64=False,
        tolerance=SINGLE,
    ),
    Case(
        name="lrn_size",
        input=PICTURES,
        cause="lrn-size",
        layer_torch="lrn",
        layer_keras="lrn",
        detail="5, torch's number of channels, as the radius; 2 is right",
        mended={"radius": 2},
        float64=False,
        tolerance=SINGLE,
    ),
    Case(
        name="lrn_offset",
        input=PICTURES,
        cause="lrn-offset",
        op="F.local_response_norm(F.relu(self.conv1(x)), 3, alpha=0.3, k=1.0)",
        layer_keras="lrn",
        detail="2; 1 is right",
        mended={"bias": 1.0},
        float64=False,
        tolerance=SINGLE,
    ),
    Case(
        name="order_lrn_pool",
        input=PICTURES,
        cause="order",
        layer_torch="lrn",
        layer_keras="lrn",
        also=("pool",),
        detail="the pool before the normalisation; after it is right",
        mended={"swapped": False},
        float64=False,
        tolerance=SINGLE,
    ),
    Case(
        name="pool_kind_max",
        input=PICTURES,
        cause="pool-kind",
        layer_torch="5",
        layer_keras="pool",
        detail="the mean; the maximum is right",
        mended={"average": False},
    ),
    Case(
        name="pool_kind_global",
        input=PICTURES,
        cause="pool-kind",
        layer_torch="2",
        layer_keras="pool",
        detail="the mean; the maximum is right",
        mended={"average": False},
    ),
    Case(
        name="activation_leaky",
        input=PICTURES,
        cause="activation",
        layer_torch="4",
        layer_keras="act",
        detail="leaky; plain ReLU is right",
        mended={"negative_slope": 0.0},
    ),
    Case(
        name="affine_scale",
        input=PICTURES,
        cause="affine",
        layer_torch="4",
        layer_keras="batch_normalization_1",
        detail="scale=False, as slim's; the original has a scale",
        mended={"scale": True},
    ),
    Case(
        name="axis_batch_norm",
        input=PICTURES,
        cause="axis",
        layer_torch="0.1",
        layer_keras="batch_normalization",
        detail="axis 1, which is the height here; the channels, -1, are right",
        mended={"axis": -1},
    ),
    Case(
        name="axis_softmax",
        **SERIES,
        cause="axis",
        op="F.softmax(x, dim=1)",
        layer_keras="softmax",
        also=("fc",),
        detail="over the channels, -1; over time, 1, is right",
        mended={"axis": 1},
    ),
    Case(
        name="axis_one_group",
        input=PICTURES,
        cause="axis",
        layer_torch="1",
        layer_keras="norm",
        detail="over the channels; over channels and pixels (one group) is right",
        mended={"layer_norm": False},
    ),
    Case(
        name="scale_attention",
        **STEPS,
        cause="scale",
        op="F.scaled_dot_product_attention(q, k, v)",
        layer_keras="attn",
        also=("attn", "attn.proj", "proj"),
        detail="scores as they are; divided by the root of 4 is right",
        mended={"scaled": True},
    ),
    Case(
        name="scale_embedding",
        input=(4, 7),
        tokens=20,
        channels_first=False,
        cause="scale",
        op="x * math.sqrt(self.dim)",
        layer_keras="embed",
        also=("embed", "fc1"),
        detail="1; the root of 8 is right",
        mended={"factor": 8**0.5},
    ),
    Case(
        name="mask_causal",
        input=(4, 6),
        tokens=20,
        channels_first=False,
        cause="mask",
        layer_torch="block.attn",
        layer_keras="attn",
        detail="every step sees all; those before it alone are right",
        mended={"causal": True},
    ),
    Case(
        name="return_last",
        **SERIES,
        cause="return",
        op="out[:, -1, :]",
        layer_keras="pool",
        also=("rnn", "fc", "lstm"),
        detail="the mean over time; the last step is right",
        mended={"mean": False},
    ),
    Case(
        name="return_bidirectional",
        **SERIES,
        cause="return",
        op="out[:, -1, :]",
        layer_keras="bilstm",
        also=("rnn", "fc"),
        detail="backwards its own last step; what it says of the last input is right",
        mended={"sequences": True},
    ),
)

RIGHT = (
    Case(name="right_sequential", input=PICTURES),
    Case(name="right_asymmetric", input=PICTURES),
    Case(name="right_resnet", input=PICTURES),
    Case(name="right_gelu", input=(4, 8), tolerance=GELU),
    Case(name="right_gelu_erf", input=(4, 8)),
    Case(name="right_group_norm", input=PICTURES),
    Case(name="right_convnext", input=PICTURES),
    Case(name="right_separable", input=PICTURES),
    Case(name="right_depthwise", input=PICTURES),
    Case(name="right_grouped", input=PICTURES, weights="own"),
    Case(name="right_lstm", **SERIES),
    Case(name="right_lstm_own", **SERIES, weights="own"),
    Case(name="right_gru", **SERIES),
    Case(name="right_bidirectional", input=(4, 7), tokens=20, channels_first=False),
    Case(name="right_transformer", input=(4, 6), tokens=20, channels_first=False),
    Case(name="right_encoder_layer", input=(4, 6, 5), channels_first=False),
    Case(name="right_unet", input=(4, 3, 12, 16)),
    Case(name="right_transposed", input=PICTURES),
    Case(name="right_pool", input=(4, 3, 13, 11), tolerance=SLOPE),
    Case(name="right_imagenet", input=PICTURES, tolerance=SCALED),
    Case(name="right_conv1d", input=(4, 4, 14)),
    Case(name="right_conv3d", input=(4, 2, 6, 4, 8)),
    Case(name="right_float32", input=(4, 2, 6, 4, 8), float64=False, tolerance=SINGLE),
    Case(name="right_bilinear", input=PICTURES, tolerance=RESIZED),
    Case(name="right_squeeze", input=PICTURES),
    Case(name="right_lrn", input=PICTURES, float64=False, tolerance=SINGLE),
)

CASES = {case.name: case for case in (*FAULTY, *RIGHT)}


TRAINING_CAUSES = [
    "epsilon",
    "epsilon-hat",
    "decay",
    "momentum",
    "accumulation",
    "clip",
    "smoothing",
    "reduction",
    "class-weights",
    "rate",
    "betas",
    "rho",
    "momentum-of-statistics",
    "variance",
]

FAULTY_TRAINING = (
    Training(
        name="epsilon_adam",
        optimizer="adam",
        causes=("epsilon", "epsilon-hat"),
        first="weights",
        detail="defaults: 1e-7 beside the plain root; 1e-8 beside the corrected one",
        mended={"optimizer": {"ported": True}},
    ),
    Training(
        name="epsilon_ported",
        optimizer="adam_ported",
        causes=("epsilon",),
        first="weights",
        detail="1e-7; 1e-8 is right",
        mended={"optimizer": {"epsilon": 1e-08}},
    ),
    Training(
        name="epsilon_adadelta",
        optimizer="adadelta",
        causes=("epsilon",),
        first="weights",
        detail="1e-7, Keras's default; 1e-6, PyTorch's, is right",
        mended={"optimizer": {"epsilon": 1e-06}},
    ),
    Training(
        name="epsilon_hat",
        optimizer="adam_same_epsilon",
        causes=("epsilon-hat",),
        first="weights",
        detail="1e-8 beside the uncorrected root; beside the corrected one is right",
        mended={"optimizer": {"ported": True}},
    ),
    Training(
        name="decay_coupled",
        optimizer="sgd_decay",
        causes=("decay",),
        first="weights",
        step=2,
        detail="decoupled; coupled, through the momentum, is right",
        mended={"optimizer": {"coupled": True}},
    ),
    Training(
        name="decay_without_bias",
        optimizer="sgd_decay_all",
        causes=("decay",),
        first="weights",
        detail="biases are left out; all decay in the original",
        mended={"optimizer": {"without_bias": False}},
    ),
    Training(
        name="momentum_dampening",
        optimizer="sgd_dampened",
        causes=("momentum",),
        first="weights",
        step=2,
        detail="no dampening; the original has .5",
        mended_torch={"dampening": 0.0},
    ),
    Training(
        name="momentum_nesterov",
        optimizer="sgd_nesterov",
        causes=("momentum",),
        first="weights",
        detail="plain; Nesterov's is right",
        mended={"optimizer": {"nesterov": True}},
    ),
    Training(
        name="momentum_schedule",
        optimizer="sgd_scheduled",
        causes=("momentum",),
        first="weights",
        step=2,
        detail="the rate inside the momentum; outside, as it falls, is right",
        mended={"optimizer": {"ported": True}},
    ),
    Training(
        name="accumulation_sum",
        optimizer="sgd_accumulated",
        causes=("accumulation",),
        first="weights",
        step=2,
        detail="the mean of two batches; the original has their sum",
        mended_torch={"mean": True},
    ),
    Training(
        name="clip_per_tensor",
        optimizer="sgd_clipped",
        causes=("clip",),
        first="weights",
        detail="each tensor's norm; the norm of all is right",
        mended={"optimizer": {"together": True}},
        tolerance=CLIPPED,
    ),
    Training(
        name="clip_values",
        optimizer="sgd_clipped_values",
        causes=("clip",),
        first="weights",
        detail="each tensor's norm; values are clipped in the original",
        mended={"optimizer": {"values": True}},
    ),
    Training(
        name="smoothing",
        loss="smoothed",
        causes=("smoothing",),
        first="loss",
        detail="none; .1 is right",
        mended={"loss": {"label_smoothing": 0.1}},
    ),
    Training(
        name="reduction",
        loss="summed",
        causes=("reduction",),
        first="loss",
        detail="the mean; the sum is right",
        mended={"loss": {"reduction": "sum"}},
    ),
    Training(
        name="class_weights_missing",
        loss="weighted",
        causes=("class-weights",),
        first="loss",
        detail="none; the original weighs classes",
        mended={"loss": {"weighing": True}},
    ),
    Training(
        name="class_weights_mean",
        loss="weighted_mean",
        causes=("class-weights",),
        first="loss",
        detail="divided by the batch; by the sum of the weights is right",
        mended={"loss": {"by_weights": True}},
    ),
    Training(
        name="rate",
        optimizer="sgd_slow",
        causes=("rate",),
        first="weights",
        detail="1e-2, Keras's default; .05 is right",
        mended={"optimizer": {"learning_rate": 0.05}},
    ),
    Training(
        name="betas",
        optimizer="adam_betas",
        causes=("betas",),
        first="weights",
        step=2,
        detail=".999, the default; .99 is right",
        mended={"optimizer": {"beta_2": 0.99}},
    ),
    Training(
        name="decay_rate",
        optimizer="adamw_default",
        causes=("decay",),
        first="weights",
        detail="4e-3, the default of Keras's AdamW; .05 is right",
        mended={"optimizer": {"weight_decay": 0.05}},
    ),
    Training(
        name="rho_default",
        optimizer="rmsprop",
        causes=("rho", "epsilon"),
        first="weights",
        detail=".9 and epsilon inside the root; .99 and beside it are right",
        mended={"optimizer": {"ported": True}},
    ),
    Training(
        name="rho_inside",
        optimizer="rmsprop_same_rho",
        causes=("epsilon",),
        first="weights",
        detail="epsilon inside the root; beside it is right",
        mended={"optimizer": {"ported": True}},
    ),
    Training(
        name="statistics_momentum",
        model="normed_swapped",
        causes=("momentum-of-statistics", "variance"),
        first="buffers",
        tensor="running_mean",
        detail=".1 of the old; .9 is right (and the variance is biased)",
        mended={"model": {"momentum": 0.9, "unbiased": True}},
    ),
    Training(
        name="variance",
        model="normed",
        causes=("variance",),
        first="buffers",
        tensor="running_var",
        detail="biased; unbiased is right",
        mended={"model": {"unbiased": True}},
    ),
)

RIGHT_TRAINING = (
    Training(
        name="right_sgd",
        optimizer="sgd_all_right",
        tolerance=CLIPPED,
    ),
    Training(
        name="right_adamw",
        optimizer="adamw",
    ),
    Training(
        name="right_smoothed",
        loss="smoothed_right",
    ),
    Training(
        name="right_accumulated",
        optimizer="sgd_accumulated_mean",
    ),
    Training(
        name="right_norm",
        model="normed_unbiased",
    ),
)

TRAINING = {case.name: case for case in (*FAULTY_TRAINING, *RIGHT_TRAINING)}
