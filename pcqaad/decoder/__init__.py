"""One network, and four ways to run it.

A latent and a template point go through layers that all patches share, then through two layers of the point's own
patch (paper, section 3.3 and Figure 1). `architecture.py` names the sizes and the tensors; the axes have the same
letters everywhere: N clouds or B of them at once, M points in K patches of S, L latent numbers, shared layers W[0],
W[1], ... wide and a patch's hidden layer H wide.

A model may have a linear part beside the network: C displacement components, fields of 3 numbers a template point,
which a cloud adds to its points. The first C numbers of its latent are their coefficients.

| file             | class            | computes in       | latents | returns                                     |
|------------------|------------------|-------------------|---------|---------------------------------------------|
| `exact.py`       | `IntegerDecoder` | integers, numpy   | (L,)    | (M, 3) in the data's unit: what a file says |
| `exact_torch.py` | `BatchDecoder`   | integers, torch   | (B, L)  | (B, M, 3) in the data's unit, the same bytes |
| `float32.py`     | `FloatDecoder`   | float32, numpy    | (L,)    | (M, 3) normalised: what an encoder probes   |
| `module.py`      | `Decoder`        | float32, torch    | (B, L)  | (B, M, 3) normalised, differentiable        |

The two of numpy have a method `decode`; the two of torch are called. To follow a file to its points, read
`integer_model.py` (the numbers, and why their sums are exact), `matrices.py`, `exact.py` and `coordinates.py`.
"""
