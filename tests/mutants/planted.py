"""The list: where, what stands there, what is planted, and the test that must fail."""

from __future__ import annotations

from dataclasses import dataclass

W, P, A = (
    "tests/test_witness.py::test_",
    "tests/test_plan.py::test_",
    "tests/test_airbench.py::test_",
)
H, T = "tests/test_heads.py::test_", "tests/test_tracks.py::test_"
S, R = "tests/test_stats.py::test_", "tests/test_report.py::test_"
OBLONG = f"{W}nothing_is_taken_for_its_mirror_image"
STATISTICS = f"{W}running_statistics_are_what_they_are_by_hand"
DECAY = f"{W}decoupled_decay_has_each_tensors_own_rate"
CLIP = f"{W}clipping_scales_long_gradients_and_leaves_short_ones"
ADAM = f"{W}adam_is_what_it_is_by_hand"
MOMENTUM = f"{W}momentum_is_what_it_is_by_hand"
AVERAGE = f"{W}averages_are_by_hand_and_weights_come_back"
ENDS = f"{W}training_ends_with_the_averaged_weights"
BF16 = f"{W}bfloat16_multiplies_in_bfloat16_and_sums_the_rest_in_float32"
LRN16 = f"{W}lrn_of_bfloat16_maps_is_summed_in_float32"
OWN = f"{W}a_frameworks_own_dropout_drops_in_training_alone_and_keeps_the_mean"
DROPS = f"{W}a_model_in_training_drops_without_masks_too"
MASKS = f"{W}each_batch_of_a_chunk_has_its_own_mask"
ESTIMATE = f"{W}statistics_are_estimated_and_the_momentum_comes_back"
HEAD = f"{W}a_new_head_is_of_its_seed"
ONCE = f"{W}every_picture_is_trained_on_once_an_epoch_with_its_own_label"
EPOCHS = f"{W}every_epoch_has_an_order_and_masks_of_its_own"
LARGEST = f"{W}accuracy_is_of_the_largest_logit_alone"
FANS = f"{W}draws_have_the_deviation_of_their_fans"
SMOOTH = f"{W}smoothing_spreads_over_all_classes"
ACT = f"{A}an_activation_is_what_it_is_by_hand"
GELU = f"{A}gelu_keeps_its_relative_accuracy_far_below_zero"
SUM = f"{A}a_sum_adds_what_the_branch_kept"
LOOK = f"{A}lookahead_is_what_it_is_by_hand"
MUON = f"{A}muon_is_what_it_is_by_hand"
RATES = f"{A}its_rates_are_the_published_ones"
VIEWS = f"{A}views_are_added_by_weight"
F = "tests/test_fractional.py::test_"
MAPS = f"{F}whole_maps_are_dropped_alike_in_a_batch_and_always_as_many"
STARTS = f"{F}pseudorandom_starts_are_the_formula"
ENDS_MEET = f"{F}regions_go_from_end_to_end_in_steps_of_one_and_two"
SPLITMIX = f"{F}uniform_numbers_are_splitmix64"
AGAIN = f"{F}judged_regions_are_numbers_of_one_stream"
LAYER = f"{F}the_layer_is_what_it_is_by_hand"
PT_, TF_ = (f"[float64-picture-random-True-{t}]" for t in ("torch", "tensorflow"))
PT_DISJOINT, TF_DISJOINT = (
    f"[float64-picture-random-False-{t}]" for t in ("torch", "tensorflow")
)
MIDDLE = f"{F}a_judged_picture_lies_in_the_middle_of_the_canvas"
TINT = f"{F}tint_and_shade_are_added_to_the_picture_and_not_to_the_canvas"
PLACED = f"{F}training_moves_a_picture_on_its_canvas_no_further_than_to_the_border"
TURN = f"{F}a_quarter_turn_is_numpys"
MATRICES = f"{F}matrices_stretch_and_then_slant_along_one_axis_or_turn"
CLEAN = f"{F}the_last_epochs_see_pictures_as_they_are"
REPEATS = f"{F}repeats_average_probabilities"
N = "tests/test_witness_onnx.py::test_"
CHOICE = f"{N}every_choice_of_a_spec_is_the_same_function"
VOTES = f"{N}two_votes_to_one"
SMALL = "tests/test_parity.py::test_both_tracks_compute_the_same_function[small-cnn]"
GOES_IN = "tests/test_parity.py::test_every_choice_of_a_spec_is_the_same_in_both[of what goes in]"
PT, TF = "[torch]", "[tensorflow]"


@dataclass(frozen=True, slots=True)
class Mutant:
    """One planted mistake.

    Attributes:
        file: Where.
        old: What stands there, exactly once.
        new: What is planted.
        check: The test that must fail.
    """

    file: str
    old: str
    new: str
    check: str


def of(file: str, *rows: tuple[str, str, str]) -> list[Mutant]:
    """Mutants of one file."""
    return [Mutant(file, *row) for row in rows]


MUTANTS = [
    *of(
        "pt_track/layers.py",
        ("value=-torch.inf", "value=0.0", OBLONG),
        (
            "(left, right, top, bottom)\n\n    def forward(self, x: Tensor) -> Tensor:\n        return super",
            "(top, bottom, left, right)\n\n    def forward(self, x: Tensor) -> Tensor:\n        return super",
            OBLONG,
        ),
        (
            "(left, right, top, bottom)\n\n    def forward(self, x: Tensor) -> Tensor:\n        if self",
            "(top, bottom, left, right)\n\n    def forward(self, x: Tensor) -> Tensor:\n        if self",
            OBLONG,
        ),
        (
            "pads = (left, right, top, bottom)",
            "pads = (top, bottom, left, right)",
            OBLONG,
        ),
        ("return mean / share", "return mean", OBLONG),
        ("layer.eps, 1 - layer.decay", "layer.eps, layer.decay", STATISTICS),
        ("add_(var, alpha=(n - 1) / n)", "add_(var)", STATISTICS),
        ("self.running_mean.copy_(mean)", "pass", STATISTICS),
        (
            "if self.frozen or not self.training:",
            "if not self.training:",
            f"{H}frozen_statistics_stay_and_all_else_moves",
        ),
        ("<= layer.radius", "< layer.radius", f"{LRN16}{PT}"),
        (
            "with torch.autocast(x.device.type, enabled=False):",
            "if True:",
            f"{LRN16}{PT}",
        ),
        (
            "torch.where(keep, x / (1 - self.rate), 0.0)",
            "torch.where(keep, x, 0.0)",
            OBLONG,
        ),
        (
            "own(x, self.rate, self.training)",
            "own(x, 1 - self.rate, self.training)",
            f"{OWN}{PT}",
        ),
        (
            "own(x, self.rate, self.training)",
            "F.dropout(x, self.rate, True)",
            f"{OWN}{PT}",
        ),
        ('if self.order == "hwc" else x', 'if self.order == "chw" else x', OBLONG),
        (
            "0.5 * x * torch.special.erfc(-x * 2**-0.5)",
            "0.5 * x * (1 + torch.erf(x * 2**-0.5))",
            f"{GELU}{PT}",
        ),
        (
            "top, left = (h - side) // 2, (w - side) // 2",
            "top, left = -(-(h - side) // 2), -(-(w - side) // 2)",
            OBLONG,
        ),
        (
            "x[:, :, top : top + side, left : left + side]",
            "x[:, :, left : left + side, top : top + side]",
            OBLONG,
        ),
        (
            "x = x - x.new_tensor(self.scale.mean)",
            "x = x + x.new_tensor(self.scale.mean)",
            GOES_IN,
        ),
        ("F.leaky_relu(x, self.layer.slope)", "F.leaky_relu(x, 0.01)", ACT),
        ("0.044715 * x**3", "0.044715 * x**2", ACT),
        (
            "return x * self.factor",
            "return x / self.factor",
            f"{A}its_head_can_be_replaced_and_left_out",
        ),
        (
            'torch.float64 if dtype == "float64" else torch.float32',
            "torch.float32",
            SMALL,
        ),
    ),
    *of(
        "tf_track/layers.py",
        ("constant_values=x.dtype.min", "constant_values=0", OBLONG),
        (
            "plain = same or layer.pad == spec.NO_PAD\n        self.uneven = None if plain else ((0, 0), *layer.pad, (0, 0))",
            "plain = same or layer.pad == spec.NO_PAD\n        self.uneven = None if plain else ((0, 0), *layer.pad[::-1], (0, 0))",
            OBLONG,
        ),
        ("assign_add(added / (n - 1))", "assign_add(added / n)", STATISTICS),
        ("momentum=layer.decay,", "momentum=1 - layer.decay,", STATISTICS),
        (
            "training = training and not self.frozen",
            "training = bool(training)",
            f"{H}frozen_statistics_stay_and_all_else_moves",
        ),
        (
            "dtype=stored(dtype))  # sums stay float32",
            "dtype=policy(dtype))",
            f"{LRN16}{TF}",
        ),
        ("<= layer.radius", "< layer.radius", f"{LRN16}{TF}"),
        (
            "tf.where(keep, x / (1 - self.rate), zero)",
            "tf.where(keep, x, zero)",
            OBLONG,
        ),
        (
            "return own(x, training=training)",
            "return own(x, training=True)",
            f"{OWN}{TF}",
        ),
        (
            "return own(x, training=training)",
            "return own(x, training=training) * 0.7",
            f"{OWN}{TF}",
        ),
        (
            "x = tf.transpose(x, (0, 3, 1, 2))",
            "x = tf.transpose(x, (0, 3, 2, 1))",
            OBLONG,
        ),
        (
            "top, left = (h - side) // 2, (w - side) // 2",
            "top, left = -(-(h - side) // 2), -(-(w - side) // 2)",
            OBLONG,
        ),
        (
            "x[:, top : top + side, left : left + side]",
            "x[:, left : left + side, top : top + side]",
            OBLONG,
        ),
        (
            "0.5 * x * tf.math.erfc(-x * 2**-0.5)",
            "0.5 * x * (1 + tf.math.erf(x * 2**-0.5))",
            f"{GELU}{TF}",
        ),
        (
            "tf.where(x > 0, x, x * self.layer.slope)",
            "tf.nn.leaky_relu(x, self.layer.slope)",
            ACT,
        ),
        (
            'return mean / tf.nn.avg_pool2d(ones, window, stride, "VALID")',
            "return mean",
            OBLONG,
        ),
        (
            "epsilon=layer.eps,",
            "epsilon=1e-3,",
            "tests/test_parity.py::test_both_tracks_compute_the_same_function[rasbt-mlp-batchnorm]",
        ),
    ),
    *of(
        "common/draws.py",
        (
            "(bits >= round(self.rate * MASK_LEVELS))",
            "(bits < round(self.rate * MASK_LEVELS))",
            f"{P}masks_keep_the_share_they_should",
        ),
        ("< round((1 - self.rate) * maps)", "< round(self.rate * maps)", MAPS),
        ("- np.floor(u * ratio)", "- np.round(u * ratio)", STARTS),
        ("max(1, self.out - 1)", "max(1, self.out)", STARTS),
        (
            "ones = 2 * self.out - self.length",
            "ones = self.length - self.out",
            ENDS_MEET,
        ),
        ("first + 1, first + count + 1", "first, first + count", SPLITMIX),
        (
            "_uniform(keys, repeat * total, total)",
            "_uniform(keys, repeat, total)",
            AGAIN,
        ),
        ("_uniform(keys, repeat * total, total)", "_uniform(keys, 0, total)", AGAIN),
    ),
    *of(
        "pt_track/layers.py",
        ("rows[:, :, None] * w +", "rows[:, :, None] * h +", f"{LAYER}{PT_}"),
        ("(a >= b) | a.isnan()", "(a > b) | a.isnan()", f"{LAYER}{PT_DISJOINT}"),
        ("value=length) - 1", "value=length)", f"{LAYER}{PT_DISJOINT}"),
        (
            "(side - h) // 2, (side - w) // 2\n    pads",
            "(side - w) // 2, (side - h) // 2\n    pads",
            f"{MIDDLE}{PT}",
        ),
    ),
    *of(
        "tf_track/layers.py",
        ("rows[:, :, None] * w +", "rows[:, :, None] * h +", f"{LAYER}{TF_}"),
        (
            "(a >= b) | tf.math.is_nan(a)",
            "(a > b) | tf.math.is_nan(a)",
            f"{LAYER}{TF_DISJOINT}",
        ),
        (
            "constant_values=length) - 1",
            "constant_values=length)",
            f"{LAYER}{TF_DISJOINT}",
        ),
        (
            "(side - h) // 2, (side - w) // 2\n    pads",
            "(side - w) // 2, (side - h) // 2\n    pads",
            f"{MIDDLE}{TF}",
        ),
    ),
    *of(
        "pt_track/cnn.py",
        ("x = layer(x, draws.get(name))", "x = layer(x)", OBLONG),
        ("x = x + kept", "x = x", f"{SUM}{PT}"),
        (
            "autocast(x.device.type, bfloat16, self.mixed)",
            "autocast(x.device.type, bfloat16, False)",
            f"{BF16}{PT}",
        ),
        ("return x.float() if self.mixed else x", "return x", f"{BF16}{PT}"),
    ),
    *of(
        "tf_track/cnn.py",
        (
            "x = layer(x, draws.get(name), training=training)",
            "x = layer(x, draws.get(name), training=False)",
            f"{DROPS}{TF}",
        ),
        (
            "x = layer(x, training=training)\n                case spec.Branch",
            "x = layer(x, training=False)\n                case spec.Branch",
            STATISTICS,
        ),
        ("x = x + kept", "x = x", f"{SUM}{TF}"),
        ("return cast(x, float32) if self.mixed else x", "return x", f"{BF16}{TF}"),
    ),
    *of(
        "pt_track/optim.py",
        (
            "limit * torch.minimum(1 / norm, torch.full_like(norm, 1 / limit))",
            "limit / norm",
            CLIP,
        ),
        (
            'torch._foreach_mul_(weights, 1 - lr * group["decay"])',
            'torch._foreach_mul_(weights, 1 - rate * group["decay"])',
            DECAY,
        ),
        (
            "factor, decay = recipe.multiplier(name), 0.0",
            "factor, decay = 1.0, 0.0",
            DECAY,
        ),
        ("torch._foreach_div_(below, bias)", "pass", ADAM),
        ("t = self.updates + 1", "t = self.updates + 2", ADAM),
        ("torch._foreach_add_(below, eps)", "pass", ADAM),
        ('self.state[p]["average"].copy_(p.detach())', "pass", AVERAGE),
        (
            "torch._foreach_add_(averages, weights, alpha=1 - stays)",
            "torch._foreach_add_(averages, weights, alpha=stays)",
            AVERAGE,
        ),
        (
            'group["decay"] / 2 * p',
            'group["decay"] * p',
            f"{T}the_reported_loss_holds_the_coupled_decay",
        ),
        ("w.mul_(len(w) ** 0.5 / w.norm())", "pass", MUON),
        (
            "if len(matrix) <= matrix.shape[1] else matrix.T\n        x = x / (x.norm()",
            "if True else matrix.T\n        x = x / (x.norm(dim=0)",
            MUON,
        ),
        ("if stays < 0:", "if stays < 0.5:", f"{LOOK}{PT}"),
        ("torch._foreach_copy_(self.fast, slow)", "pass", f"{LOOK}{PT}"),
    ),
    *of(
        "tf_track/optim.py",
        ("limit * tf.minimum(1 / norm, 1 / limit)", "limit / norm", CLIP),
        ("lr = lr * self.factors[index]", "lr = lr * self.factors[0]", DECAY),
        (
            "variable.assign(variable * tf.cast(1 - lr * decay, variable.dtype))",
            "variable.assign(variable * tf.cast(1 - 0.1 * decay, variable.dtype))",
            DECAY,
        ),
        (
            "below += tf.cast(eps, variable.dtype)",
            "below += 0 * tf.cast(eps, variable.dtype)",
            ADAM,
        ),
        (
            "t = tf.cast(self.iterations + 1, tf.float64)",
            "t = tf.cast(self.iterations + 2, tf.float64)",
            ADAM,
        ),
        ('kept["average"].assign(variable)', "pass", AVERAGE),
        (
            "stays = self.averages(self.iterations)",
            "stays = self.averages(self.iterations + 1)",
            AVERAGE,
        ),
        (
            "gradient = gradient + self.momentum * buffer\n            else",
            "gradient = self.momentum * buffer\n            else",
            MOMENTUM,
        ),
        (
            "self.strength(v) / 2 * tf.reduce_sum",
            "self.strength(v) * tf.reduce_sum",
            f"{T}the_reported_loss_holds_the_coupled_decay",
        ),
        (
            "tf.cond(stays < 0, tf.no_op, approach)",
            "tf.cond(stays < 0.5, tf.no_op, approach)",
            f"{LOOK}{TF}",
        ),
        (
            "x = x / (tf.norm(x) + self.eps)",
            "x = x / (tf.norm(x, axis=0, keepdims=True) + self.eps)",
            MUON,
        ),
    ),
    *of(
        "pt_track/train.py",
        (
            "        finally:\n            set_weights(self.model, raw)",
            "        finally:\n            pass",
            AVERAGE,
        ),
        (
            "    if recipe.average:\n        trainer.keep_average()",
            "    if False:\n        trainer.keep_average()",
            ENDS,
        ),
        (
            "{name: m[i] for name, m in draws.items()}",
            "{name: m[0] for name, m in draws.items()}",
            f"{MASKS}{PT}",
        ),
        (
            'set_slots(self.model, self.rule, parts["slots"], step)',
            "pass",
            f"{T}a_run_that_goes_on_ends_as_if_it_had_not_stopped",
        ),
        (
            "return F.cross_entropy(logits, labels, label_smoothing=recipe.smoothing)",
            "return F.cross_entropy(logits, labels)",
            SMOOTH,
        ),
        (
            "(weights * each).sum() / weights.sum()",
            "(weights * each).mean()",
            "tests/test_parity.py::test_a_batch_is_weighted_as_the_recipe_says",
        ),
    ),
    *of(
        "tf_track/train.py",
        (
            "        finally:\n            set_weights(self.model, raw)",
            "        finally:\n            pass",
            AVERAGE,
        ),
        (
            "    if recipe.average:\n        trainer.keep_average()",
            "    if False:\n        trainer.keep_average()",
            ENDS,
        ),
        (
            "{name: draw[i] for name, draw in draws.items()}",
            "{name: draw[0] for name, draw in draws.items()}",
            f"{MASKS}{TF}",
        ),
        ("+ smoothing / classes", "+ smoothing / (classes - 1)", SMOOTH),
        (
            'set_slots(self.model, self.rule, parts["slots"], step)',
            "pass",
            f"{T}a_run_that_goes_on_ends_as_if_it_had_not_stopped",
        ),
    ),
    *of("pt_track/predict.py", ("model.eval()", "model.train()", SMALL)),
    *of(
        "tf_track/predict.py",
        ("model(x, training=False)", "model(x, training=True)", SMALL),
    ),
    *of(
        "pt_track/weights.py",
        ("(2, 3, 1, 0)", "(3, 2, 1, 0)", OBLONG),
        (
            '("mean", "running_mean", (0,)),',
            '("mean", "running_var", (0,)),',
            STATISTICS,
        ),
    ),
    *of(
        "tf_track/weights.py",
        ('("mean", "moving_mean"),', '("mean", "moving_variance"),', STATISTICS),
    ),
    *of(
        "pt_track/statistics.py",
        ("norm.momentum = momentum", "pass", f"{ESTIMATE}{PT}"),
    ),
    *of(
        "tf_track/statistics.py",
        ("norm.momentum = momentum", "pass", f"{ESTIMATE}{TF}"),
    ),
    *of(
        "pt_track/__init__.py",
        (
            "transplanted(spec, get_weights(model), seed)",
            "transplanted(spec, get_weights(model), 0)",
            f"{HEAD}{PT}",
        ),
        (
            "weights, header = read(path)\n",
            "weights, header = read(path)\n    weights = {n: w * 0 + 1 if n.endswith('.var') else w for n, w in weights.items()}\n",
            f"{T}a_file_of_one_track_opens_in_the_other[small-cnn]",
        ),
    ),
    *of(
        "tf_track/__init__.py",
        (
            "transplanted(spec, get_weights(model), seed)",
            "transplanted(spec, get_weights(model), 0)",
            f"{HEAD}{TF}",
        ),
        (
            "weights, header = read(path)\n",
            "weights, header = read(path)\n    weights = {n: w * 0 if n.endswith('.mean') else w for n, w in weights.items()}\n",
            f"{T}a_file_of_one_track_opens_in_the_other[small-cnn]",
        ),
    ),
    *of(
        "common/plan.py",
        (
            "labels = part.labels[rows].astype(np.int32)",
            "labels = np.roll(part.labels, 1)[rows].astype(np.int32)",
            ONCE,
        ),
        (
            "rng, n = self._stream(0, epoch), len(labels)",
            "rng, n = self._stream(0), len(labels)",
            EPOCHS,
        ),
        (
            "self._stream(1, epoch, step) for step",
            "self._stream(1, step) for step",
            EPOCHS,
        ),
        (
            "self._stream(1, epoch, step) for step",
            "self._stream(1, epoch) for step",
            EPOCHS,
        ),
        ("if n % batch and not recipe.drop_last:", "if False:", ONCE),
        (
            "stop = min(start + many, whole)",
            "stop = min(start + many, whole - 1)",
            ONCE,
        ),
        (
            "images[changes.flip, :, ::-1]\n    if side",
            "images[changes.flip, ::-1]\n    if side",
            f"{P}crops_and_flips_are_pieces_of_the_picture",
        ),
        (
            "images[changes.flip, :, ::-1]\n    if augment",
            "images[changes.flip, ::-1]\n    if augment",
            f"{F}a_picture_on_a_canvas_is_mirrored_from_left_to_right",
        ),
        (
            "np.tile(total / (h * w), w)",
            "np.tile(total / (h * w) * 0 + 128, w)",
            f"{P}brightness_comes_before_contrast_and_nothing_is_clipped",
        ),
        (
            "    pixels += means\n",
            "    pass\n",
            f"{P}brightness_comes_before_contrast_and_nothing_is_clipped",
        ),
        (
            "recipe.epochs - recipe.augment.clean",
            "recipe.epochs - recipe.augment.clean - 1",
            CLEAN,
        ),
        ("middle - shift), min(", "middle - shift + 1), min(", PLACED),
        ("(side - own) // 2\n", "(side - own + 1) // 2\n", PLACED),
        ("np.linalg.inv(changes.affine)", "changes.affine", TURN),
        ("then @ stretched", "stretched @ then", MATRICES),
        ("[by, 0, -np.sin(by)]", "[by, 0, np.sin(by)]", MATRICES),
        ("> GROUND)", ">= 0)", TINT),
        (
            "first[rows.ravel()] ^ again",
            "first[: rows.size] ^ again",
            f"{A}alternating_flips_show_both_sides_in_two_epochs",
        ),
        (
            "h + 2 * augment.shift, w + 2 * augment.shift",
            "h + augment.shift, w + augment.shift",
            f"{A}shifts_are_as_far_as_they_may_be_and_no_farther",
        ),
        (
            '(0, 0)), "reflect")',
            '(0, 0)), "edge")',
            f"{A}a_shift_reflects_at_the_border",
        ),
        (
            "tall[:, :, None] & wide[:, None]] = recipe.augment.paint or 0",
            "tall[:, :, None] & wide[:, None]] = 0",
            f"{A}a_cutout_is_a_square_of_black_inside",
        ),
    ),
    *of(
        "common/loop.py",
        ("yield first[1:]", "yield first[1:2]", ONCE),
        (
            "part = data.valid if len(data.valid) else data.test",
            "part = data.test",
            f"{W}epochs_are_judged_on_the_validation_part",
        ),
        (
            "return not any(last <= other for other in before)",
            "return not any(last < other for other in before)",
            f"{W}of_equally_good_epochs_the_first_is_kept",
        ),
        ("chunk = chunk[:left]", "pass", f"{A}a_cut_last_epoch_stops_where_it_says"),
    ),
    *of(
        "common/recipe.py",
        (
            "np.arange(steps) // every",
            "(np.arange(steps) + 1) // every",
            f"{P}a_staircase_falls_after_its_steps",
        ),
        (
            "np.minimum(full, (1 + n) / (10 + n))",
            "np.minimum(full, n / (9 + n))",
            f"{P}averages_warm_up_as_tensorflows_do",
        ),
        (
            "0.5 + 0.5 * cos(pi * (i - rise) / fall)",
            "0.55 + 0.45 * cos(pi * (i - rise) / fall)",
            f"{P}a_warm_cosine_rises_and_falls_at_every_step",
        ),
        (
            "return ceil(per_epoch * (self.epochs",
            "return int(per_epoch * (self.epochs",
            f"{A}a_cut_last_epoch_stops_where_it_says",
        ),
        (
            "np.where(t % self.every, -1.0, grown)",
            "np.where((t - 1) % self.every, -1.0, grown)",
            LOOK,
        ),
        ("(t / steps) ** self.power", "((t - 1) / steps) ** self.power", LOOK),
        ("self.rate / factor if", "self.rate * factor if", RATES),
        (
            'if name.endswith(".kernel"))',
            'if name.endswith((".kernel", ".bias")))',
            f"{W}decay_of_both_kinds_and_all_weights",
        ),
        (
            "return max(fitting, key=",
            "return min(fitting, key=",
            f"{H}the_longest_prefix_counts",
        ),
        ("return _of_longest(name, self.multipliers, 1.0)", "return 1.0", DECAY),
        ("QUINTIC = (3.4445,", "QUINTIC = (3.4,", MUON),
        ("int(share * steps) for share", "int(share * steps) + 1 for share", RATES),
    ),
    *of(
        "common/evaluate.py",
        ("self.shares + probabilities(logits)", "self.shares + logits", REPEATS),
        ("return predict(images, number)", "return predict(images, 0)", REPEATS),
        (
            "correct = int((logits.argmax(axis=1) == labels).sum())",
            "correct = int((np.argsort(logits, 1)[:, -2:] == labels[:, None]).any(1).sum())",
            LARGEST,
        ),
        (
            "float(cross_entropy(logits, labels).sum() / n)",
            "float(cross_entropy(logits, labels).sum() / (n - 1))",
            LARGEST,
        ),
        (
            "width - view.down, width - view.right",
            "width + view.down, width + view.right",
            VIEWS,
        ),
        ("view.weight * logits", "logits / len(views) * logits.dtype.type(1)", VIEWS),
        ("own[:, :, ::-1] if view.flip", "own[:, ::-1] if view.flip", VIEWS),
        (
            "min(i + batch_size, len(part))",
            "min(i + batch_size, len(part) - 1)",
            f"{T}the_evaluator_counts_every_picture_once",
        ),
    ),
    *of(
        "common/weights.py",
        (
            "return rng.normal(0.0, sqrt(2 / fans(shape)[0]), shape)",
            "return rng.normal(0.0, sqrt(2 / fans(shape)[1]), shape)",
            FANS,
        ),
        ("sqrt(6 / (fan_in + fan_out))", "sqrt(6 / fan_in)", FANS),
        (
            "> 2 * self.std",
            "> 3 * self.std",
            "tests/test_systems.py::test_truncated_draws_have_the_deviation_of_tensorflows",
        ),
        (
            "bound = 1 / sqrt(fans(shape)[0])",
            "bound = 1 / sqrt(fans(shape)[1])",
            f"{A}draws_have_the_deviation_that_torch_gives_them",
        ),
        (
            "values[h // 2, w // 2, :, :fan_in]",
            "values[0, 0, :, :fan_in]",
            f"{A}identity_filters_pass_their_channels_on",
        ),
        (
            "np.sqrt(values[::-1] + self.eps)",
            "(values[::-1] + self.eps)",
            f"{A}whitened_patches_are_white",
        ),
        (
            "np.concatenate([vectors, -vectors], 1)",
            "np.concatenate([vectors, vectors], 1)",
            f"{A}whitened_patches_are_white",
        ),
        (
            "key = np.random.SeedSequence([seed, zlib.crc32(name.encode())])",
            "key = np.random.SeedSequence([0, zlib.crc32(name.encode())])",
            "tests/test_systems.py::test_the_draw_depends_on_name_and_seed_alone",
        ),
    ),
    *of(
        "common/start.py",
        (
            "permutation(len(part))[:n]",
            "permutation(n)[:n] * 0 + np.arange(n)",
            f"{A}whitening_takes_pictures_at_random_and_says_what_it_lacks",
        ),
    ),
    *of(
        "common/spec.py",
        (
            "return total // 2, total - total // 2",
            "return total - total // 2, total // 2",
            "tests/test_systems.py::test_same_pads_as_tensorflow_does",
        ),
        (
            "x = x - np.array(self.mean)",
            "x = x + np.array(self.mean)",
            f"{W}pixels_are_scaled_in_numpy_as_by_hand",
        ),
    ),
    *of(
        "common/stats.py",
        (
            "self._rows_width(alpha / looks)",
            "self._rows_width(alpha)",
            "tests/test_histories.py::test_adding_seeds_until_it_decides_errs_no_more_often",
        ),
        (
            "table[:look].astype(np.int8)",
            "table.astype(np.int8)",
            f"{S}only_the_seeds_of_a_look_are_judged",
        ),
        (
            "found.diverged[0] != found.diverged[1]:\n        outcome",
            "False:\n        outcome",
            f"{R}one_diverged_run_is_no_verdict_and_no_equivalence",
        ),
        (
            "low=max(mean - half, -1.0)",
            "low=mean - half",
            f"{S}a_difference_stays_between_all_and_nothing",
        ),
        (
            "steps = (len(p) - np.arange(len(p))) * p[order]",
            "steps = len(p) * p[order]",
            f"{S}holm_is_what_it_is_by_hand",
        ),
        (
            "PSEUDO = 4.0",
            "PSEUDO = 0.0",
            f"{S}tracks_that_agree_on_a_small_test_set_are_undecided",
        ),
    ),
    *of(
        "benchmarks/measures/rungs.py",
        ("right,) = answers.keys() - off", "right,) = off", f"{VOTES}[the first]"),
        ("if apart <= tolerance", "if apart > tolerance", f"{VOTES}[the witness]"),
        (
            'BESIDE = {"witness": "logits"}',
            "BESIDE: dict[str, str] = {}",
            f"{N}the_ladder_stops_at_the_first_that_fails_and_hears_the_witness",
        ),
    ),
    *of(
        "common/witness/form.py",
        (
            "first = [(length - side) // 2 for length in size]",
            "first = [0 for _ in size]",
            f"{CHOICE}[a crop]",
        ),
        (
            "return self.padded(x, pad, ground)",
            "return self.padded(x, pad, 0.0)",
            f"{CHOICE}[a canvas]",
        ),
        (
            'border = 1.0 if layer.border == "include" else 0.0',
            "border = 1.0",
            f"{CHOICE}[means without]",
        ),
        (
            "end = graph.constant(np.array(drawn.length, np.int64))",
            "end = graph.constant(np.array(drawn.length - 1, np.int64))",
            f"{CHOICE}[disjoint regions]",
        ),
    ),
    *of(
        "common/witness/lowered.py",
        (
            "x = self.padded(x, layer.pad, -np.inf)",
            "x = self.padded(x, layer.pad, 0.0)",
            f"{CHOICE}[a maximum of negatives]",
        ),
        ("layer.eps)", "1.001 * layer.eps)", f"{CHOICE}[norms]"),
        (
            "TERMS = 3.75, 24",
            "TERMS = 3.75, 16",
            f"{N}gelu_is_accurate_far_below_zero",
        ),
        (
            "graph.number(0.0))\n        erfc",
            "graph.number(-3.0))\n        erfc",
            f"{CHOICE}[gelu]",
        ),
    ),
    *of(
        "common/witness/plain.py",
        (
            "return top, left, bottom, right",
            "return top, bottom, left, right",
            f"{CHOICE}[uneven windows]",
        ),
        (
            '"alpha": layer.alpha * size',
            '"alpha": layer.alpha',
            f"{CHOICE}[neighbours]",
        ),
        (
            'if layer.order == "hwc"',
            'if layer.order == "chw"',
            f"{CHOICE}[channels first]",
        ),
        (
            "drawn.middle(1)",
            "(drawn.middle(1) * 0)",
            f"{N}a_user_needs_nothing_but_the_file_and_pixels",
        ),
    ),
]
