"""numpy: linear algebra (LAPACK and its threads), FFT, sorting, random generators, memory maps, large arrays."""

import numpy as np

random = np.random.default_rng(12345)
a = random.standard_normal((160, 160))
b = random.standard_normal((160, 160))
print("random", a[0, :3].round(12), random.integers(0, 1000, 5))
product = a @ b
print("matmul", np.allclose(product, np.einsum("ij,jk->ik", a, b)), round(float(product.sum()), 6))
inverse = np.linalg.inv(a)
print("inverse", np.allclose(a @ inverse, np.eye(160)))
values = np.linalg.eigvalsh(a @ a.T)
print("eigenvalues", bool((values > -1e-9).all()), round(float(values.max()), 6))
u, s, v = np.linalg.svd(a[:, :40], full_matrices=False)
print("svd", np.allclose(u * s @ v, a[:, :40]), s.shape)
print("solve", np.allclose(a @ np.linalg.solve(a, b), b))
signal = np.sin(np.arange(4096) * 0.1) + random.standard_normal(4096)
print("fft", np.allclose(np.fft.ifft(np.fft.fft(signal)), signal), int(np.abs(np.fft.rfft(signal)).argmax()))
numbers = random.integers(0, 10**6, 300_000)
print("sort", bool((np.diff(np.sort(numbers)) >= 0).all()), int(np.unique(numbers % 1000).size))
x = np.linspace(0, 10, 100_001)
print("ufuncs", round(float((np.exp(-x) * np.cos(3 * x) + np.sqrt(x) + np.log1p(x)).sum()), 6))
table = np.memmap("table", dtype=np.float64, mode="w+", shape=(500, 500))
table[:] = np.arange(250_000).reshape(500, 500)
table.flush()
print("memmap", float(np.memmap("table", dtype=np.float64, mode="r", shape=(500, 500))[499].sum()))
large = np.ones((3000, 3000))
large *= 2
print("large", float(large.sum()), large.nbytes)
np.savez_compressed("saved", a=a, n=numbers)
print("saved", np.array_equal(np.load("saved.npz")["a"], a))
