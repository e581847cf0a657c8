/* The explorer: a loss, its rivals, data to drag and a photograph to repair. Plain JavaScript, SVG and canvas.
 *
 * Every element of class alcl-explorer is filled, once. The formulas come first and need no browser: ALCLExplorer.losses,
 * .density, .locate, .spoil, .repair; tests/paper/test_explorer.py compares them with the library.
 * A loss is {rho, psi, weight}, functions of a residual e and of p = {alpha, beta, kappa, eps}. Rivals take beta as their
 * scale: Huber's delta, the scales of Cauchy and Welsch. Squared error has none. rho is 0 at e = 0.
 */
globalThis.ALCLExplorer = (() => {
  "use strict";

  // ---------------------------------------------------------------- formulas

  const REACH = 10; // data, residuals and outliers lie from -REACH to REACH

  const LANCZOS = [
    0.99999999999980993, 676.5203681218851, -1259.1392167224028, 771.32342877765313, -176.61502916214059,
    12.507343278686905, -0.13857109526572012, 9.9843695780195716e-6, 1.5056327351493116e-7,
  ];

  /** log Gamma(x) for x > 0 (Lanczos's approximation). */
  function logGamma(x) {
    if (x < 0.5) return Math.log(Math.PI / Math.sin(Math.PI * x)) - logGamma(1 - x);
    const t = x + 6.5;
    let sum = LANCZOS[0];
    for (let i = 1; i < LANCZOS.length; i++) sum += LANCZOS[i] / (x - 1 + i);
    return 0.5 * Math.log(2 * Math.PI) + (x - 0.5) * Math.log(t) - t + Math.log(sum);
  }

  /** The error function for x >= 0, by a series without cancellation. */
  function erf(x) {
    if (x > 6) return 1;
    let term = x, sum = x;
    for (let n = 1; term > 1e-17 * sum; n++) sum += term *= (2 * x * x) / (2 * n + 1);
    return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum;
  }

  /** log Z(alpha, beta, kappa); Infinity where kappa alpha <= 1: there is no density (Theorem L3). */
  function logNormalizer({ alpha, beta, kappa }) {
    if (kappa * alpha <= 1) return Infinity;
    const a = 1 / alpha;
    return Math.log((2 * beta) / alpha) + logGamma(a) + logGamma(kappa - a) - logGamma(kappa);
  }

  /** log(1 + exp(x)) without overflow. */
  const softplus = (x) => (x > 0 ? x + Math.log1p(Math.exp(-x)) : Math.log1p(Math.exp(x)));

  /** v = u^alpha / (1 + u^alpha): how far outside the scale a residual is, from 0 to 1. */
  const outside = (e, alpha, beta) => 1 / (1 + Math.pow(Math.abs(e) / beta, -alpha));

  const losses = {
    mse: { rho: (e) => e * e, psi: (e) => 2 * e, weight: () => 2 },
    huber: {
      rho: (e, { beta }) => (Math.abs(e) <= beta ? (e * e) / 2 : beta * (Math.abs(e) - beta / 2)),
      psi: (e, { beta }) => Math.max(-beta, Math.min(beta, e)),
      weight: (e, { beta }) => Math.min(1, beta / Math.abs(e)),
    },
    cauchy: {
      rho: (e, { beta }) => Math.log1p((e / beta) ** 2),
      psi: (e, { beta }) => (2 * e) / (beta * beta + e * e),
      weight: (e, { beta }) => 2 / (beta * beta + e * e),
    },
    welsch: {
      rho: (e, { beta }) => -Math.expm1(-((e / beta) ** 2)),
      psi: (e, { beta }) => ((2 * e) / beta ** 2) * Math.exp(-((e / beta) ** 2)),
      weight: (e, { beta }) => (2 / beta ** 2) * Math.exp(-((e / beta) ** 2)),
    },
    alcl: {
      rho: (e, { alpha, beta, kappa }) => (e === 0 ? 0 : kappa * softplus(alpha * Math.log(Math.abs(e) / beta))),
      psi: (e, { alpha, beta, kappa }) => (e === 0 ? 0 : (kappa * alpha * outside(e, alpha, beta)) / e),
      weight(e, { alpha, beta, kappa }) {
        if (e !== 0) return (kappa * alpha * outside(e, alpha, beta)) / (e * e);
        return alpha < 2 ? Infinity : alpha === 2 ? (2 * kappa) / beta ** 2 : 0;
      },
    },
    // ALCL beside a fraction eps of outliers, anywhere in -REACH to REACH: -log of the mixture of the two densities.
    contaminated_alcl: {
      rho(e, p) {
        const own = losses.alcl.rho(e, p), m = atZero(p); // each form keeps its digits where it is used
        return own < 1 ? -Math.log1p(m.own * Math.expm1(-own)) : -Math.log(m.other + m.own * Math.exp(-own));
      },
      psi: (e, p) => (e === 0 ? 0 : belongs(e, p) * losses.alcl.psi(e, p)),
      weight: (e, p) => belongs(e, p) && belongs(e, p) * losses.alcl.weight(e, p),
    },
  };

  /** {own, other, log}: the shares of ALCL and of outliers in the mixture's density at 0, and the log of that density. */
  function atZero(p) {
    const own = (1 - p.eps) * Math.exp(-logNormalizer(p)), other = p.eps / (2 * REACH);
    return { own: own / (own + other), other: other / (own + other), log: Math.log(own + other) };
  }

  /** The probability that a residual is no outlier. */
  function belongs(e, p) {
    const m = atZero(p), own = m.own * Math.exp(-losses.alcl.rho(e, p));
    return own / (own + m.other);
  }

  const logNormalizers = {
    mse: () => 0.5 * Math.log(Math.PI),
    huber: ({ beta: d }) =>
      Math.log(Math.sqrt(2 * Math.PI) * erf(d / Math.SQRT2) + (2 / d) * Math.exp((-d * d) / 2)),
    cauchy: ({ beta }) => Math.log(Math.PI * beta),
    welsch: () => Infinity, // bounded: exp(-rho) has no integral
    alcl: logNormalizer,
    contaminated_alcl: (p) => (p.kappa * p.alpha <= 1 ? Infinity : -atZero(p).log),
  };

  /** exp(-rho) / Z, of the mixture (1 - eps) q + eps / (2 REACH); 0 everywhere for a loss that is no likelihood. */
  const density = (name, e, p) => Math.exp(-losses[name].rho(e, p) - logNormalizers[name](p));

  /** The location t that minimizes the sum of rho(x - t), NaN where rho is constant: the best of the data and of a grid, then refined. */
  function locate(name, x, p) {
    const { rho, psi } = losses[name];
    if (name === "contaminated_alcl" && p.kappa * p.alpha <= 1) return NaN; // all is contamination
    const sum = (f, t) => x.reduce((total, each) => total + f(each - t, p), 0);
    const low = Math.min(...x), high = Math.max(...x);
    if (low === high) return low;
    const starts = [...x];
    for (let i = 1; i < 400; i++) starts.push(low + ((high - low) * i) / 400);
    starts.sort((a, b) => a - b);
    const values = starts.map((t) => sum(rho, t));
    const best = values.indexOf(Math.min(...values));
    let a = starts[Math.max(0, best - 1)], b = starts[Math.min(starts.length - 1, best + 1)];
    const golden = (Math.sqrt(5) - 1) / 2;
    for (let i = 0; i < 30; i++) { // to the valley of the minimum, past which sums no longer differ
      const c = b - golden * (b - a), d = a + golden * (b - a);
      if (sum(rho, c) <= sum(rho, d)) b = d;
      else a = c;
    }
    a -= 1e-6; b += 1e-6;
    if (sum(psi, a) > 0 && sum(psi, b) < 0) {
      for (let i = 0; i < 60; i++) { // and to the root of the derivative, which is sharper
        const middle = (a + b) / 2;
        if (sum(psi, middle) > 0) a = middle;
        else b = middle;
      }
    }
    const t = (a + b) / 2;
    return sum(rho, t) <= values[best] ? t : starts[best]; // below shape 1 the minimum is a cusp, at a datum
  }

  /** Numbers in (0, 1) from a seed (mulberry32): the same picture has the same noise every time. */
  function uniforms(seed) {
    let state = seed >>> 0;
    return () => {
      state = (state + 1831565813) >>> 0;
      let t = Math.imul(state ^ (state >>> 15), state | 1);
      t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
      return (((t ^ (t >>> 14)) >>> 0) + 0.5) / 4294967296;
    };
  }

  /** `copies` of a picture (values in [0, 1]): a fraction `level` / 2 of pixels turns black or white, and all get Cauchy
   * noise of scale `level` / 5. At one level a pixel that is hit stays hit at every higher one. */
  function spoil(clean, level, copies, seed = 1) {
    const next = uniforms(seed);
    return Array.from({ length: copies }, () =>
      Float64Array.from(clean, (value) => {
        const hit = next(), side = next(), z = next();
        const base = hit < level / 2 ? (side < 0.5 ? 0 : 1) : value;
        return base + (level / 5) * Math.tan(Math.PI * (z - 0.5));
      }),
    );
  }

  /** The mean of the copies, pixel by pixel: what squared error gives. */
  const mean = (copies) => copies[0].map((_, i) => copies.reduce((sum, copy) => sum + copy[i], 0) / copies.length);

  /** ALCL with kappa = 1: picture, shape and scale that are most likely together, from gray and beta = 1, by reweighted
   * means for the pixels and Newton's steps for log beta and alpha. Floors: alpha >= 1.01, beta >= 0.001. */
  function repair(copies, rounds = 80) {
    const n = copies[0].length, m = copies.length, h = 1e-3;
    const picture = new Float64Array(n).fill(0.5);
    let alpha = 2, beta = 1;
    for (let round = 0; round < rounds; round++) {
      let v1 = 0, v2 = 0, a1 = 0, a2 = 0;
      for (let i = 0; i < n; i++) {
        let up = 0, down = 0;
        for (let k = 0; k < m; k++) {
          const e = copies[k][i] - picture[i];
          const size = Math.max(Math.abs(e), 1e-9);
          const log = Math.log(size / beta);
          const v = 1 / (1 + Math.exp(-alpha * log));
          const weight = v / (size * size);
          up += weight * e;
          down += weight;
          v1 += v;
          v2 += v * (1 - v);
          a1 += v * log;
          a2 += v * (1 - v) * log * log;
        }
        picture[i] += up / down;
      }
      const count = n * m;
      const z = [-h, 0, h].map((step) => logNormalizer({ alpha: alpha + step, beta, kappa: 1 }));
      const limit = (step, most) => Math.max(-most, Math.min(most, step));
      const slope = a1 / count + (z[2] - z[0]) / (2 * h);
      const bend = a2 / count + (z[2] - 2 * z[1] + z[0]) / (h * h);
      const scale = (alpha * v1) / count - 1;
      beta = Math.max(1e-3, beta * Math.exp(limit(scale / ((alpha * alpha * v2) / count + 1e-3), 0.5)));
      alpha = Math.max(1.01, alpha - limit(slope / Math.max(bend, 1e-3), 0.2));
    }
    return { picture, alpha, beta };
  }

  /** Decibels of a picture, cut to [0, 1], against the clean one. */
  function psnr(picture, clean) {
    const cut = (value) => Math.max(0, Math.min(1, value));
    const error = clean.reduce((sum, value, i) => sum + (cut(picture[i]) - value) ** 2, 0) / clean.length;
    return -10 * Math.log10(error);
  }

  // ---------------------------------------------------------------- the photograph
  // A corner of china.jpg of scikit-learn, gray and small: photograph by danielbuechele, CC BY 2.0,
  // https://www.flickr.com/photos/danielbuechele/6061409035
  const PHOTO = {
    width: 64,
    height: 48,
    pixels: "" +
    "0dLT09PU1dTW1tfV4Lg4Y1+049nb3Nzd3t/g4eHi4uPk5OXl5ufo6Onq6+vs7e7v7+/v7/Dx8vLy8/T09fX19dLT1NTU1dXW1tbV3M5wQoU5Ua" +
    "zk29vd3t/g4OHh4uPj5OTl5ebn5+nq6uvs7O7u7u/v8PHx8vPz9PT09fb29/fT09TV1dbW1tbY4MGHdXSNcj5KoOHh29/g4ODh4uLi4+Tk5Obn" +
    "5+jp6uvr7O3u7u7v7/Dw8fHy8vPz9PT09fX11NTV1dbW1dfd1KaGrIeQfnpyQj6C0+be3uDg4eHh4uLk5OXm5+fp6urr6+zt7e7v7+/v8PDx8f" +
    "Lz8vP09fX19tTU19nV2t7Us4yQtKSemHp6e3ZLNVyt4uXg3+Hi4uPk5OTl5ufo6erq6uvs7O3t7u/v7/Dw8fHz8/Pz9PT19fbV18zE2smqiY+q" +
    "vqOBnH18enl7fV06Pm+A3evi4OPi4+Tk5ebn5+jp6urr7Ozt7e3u7+/w8fHy8/Pz9PX29/f3zc+ugJKGl6+9wrZvjod+gXx7e36BdVw5MG6Mz+" +
    "rd4+Lj5eXm5+fo6erq6+vs7e3t7u/v8fHx8vP09fX19vb29piVnqCwwcW7sZZAIzxXZ2xvc3V2eHZ5bFtBMGx+fOnr6uTm5ufn6Onq6uvs7O3t" +
    "7u7v7/Dx8vPz9PX19fb29vc+bYOGdWBPPS0XDhsaEx0mKy4xNzw6Pz01OS1GeXqRobvn5ufm6Onp6uvr6+zt7e3u7vDx8fLz8/T09PX29vb3Dh" +
    "MQCgoEBAQFCg8UExcXFhQTExIUFRYYHTUkKVB1f2pv3ujm5+jp6uvs7Ozt7e7u7+/w8fHy8vP08/T19fb29xoIGRISFhsiKC0tOlVPWFFUVU9S" +
    "VEpFPks3IhwaHTBxyePn5+jp6err6+zs7e3u7u/v8PDx8vPz9PT19fX29/euRBI/P0RHSkhFRT9CUFNQX2BhYmVeZlZ6hXhgPmCp4e3m5+bn6O" +
    "nq6evr7Ozt7u7v7/Dw8fHy8/P09PT19vb23duBLjkzPU9PXDQyLkxVKX51fHJ7K1tGQ2qGgXbT9OTj5ebm5+jo6err6+zs7e3u7+/v8fHx8vPz" +
    "9PT19fb29tHhtR9CM0dfVlUwKi1ARC5WWF9fZzJYRVB3j19Q0ePh5OXm5ufo6Onq6urr7O3s7e7u7+/w8fLy8/P09PX19fbW08YqJCgkJCEhJi" +
    "o/QkNDPj9BRUdHTFhyaI+IbtPy5uLj5Obm5+jo6erq6+vs7O3t7u7v8PDx8fLy8/Pz9PT1zWFiKSUsLSwtLSVQdUhGQ0lIS0hJTmFtQiFmj5ih" +
    "l77y7Ofk5ubn6Ojp6erq6+vs7O3t7u/v7/Dw8fLy8/Pz9EsrHyctLzEwLz44SXtlYF1mYF9aWWdlZVxMNCZnmF95mqPR6OTl5ufn6Ojp6erq6+" +
    "vs7O3t7u7v8PDx8fHy8vMuMS4wNDM5TWBkLSg1TVRTX15UV1pYW1hZUEA0OZWlknJTrOzi5OXl5ufn6Ojp6erq6+vs7O3t7u7v7+/w8fHyIyYf" +
    "ISEiJCwqIihFSzo8NTY3PD0/Pjs9R1FQYT9aZWl8t93j5OTk5eXm5ufn6Ojo6enq6uvr7O3t7e7u7/Dw8D0+Rj5DNzhCRUlDVnJyVm5scVZJQl" +
    "ZvcVlXe4KEgnGEnODk4eLj4+Tk5OXl5ebm5+fo6Onp6uvr6+zs7e7u7u9qUyA/IxMUKjgfDCRDNhoqUUUzNCskMUovIU1RUUsxprbR4uDh4eLi" +
    "4+Pk5OXl5ebm5+fn6Onp6urr7Ozt7e3tgHgEGBQdISIeGhodL0FBIzxOTE1OQiRERTFKWVBOOpyty9/b29zc3d7e3t/f4eDg4N/h4uLj4uPj5O" +
    "Tk5OXm5XZxDCEaICYoKB8cJjBFSChAWFBSTUgiSEUuU1pXXUSPp7zQzc3NztDQ0dLS09PS0dDR0NLS09XV1tbV1dbW19lubwcgFiElLSUfGSU5" +
    "QkYoQldPXExKKEpKRm1seoCHj6G3x8DBxMTCwcHCwsPDwsPDxMLCw8PExcbJycnIyMjINUAcISAnKS8kJygoU1JSRlNaTU1PTzlYXF1heY6AiI" +
    "mSs7Gxrq6xsLWztra2tba3uLm6vL7AxMbP3Nzb1tXW1icmHh8cHR0dHx8hKWFiYlRaXlpdX2VicXN3doiiraqttbCgpaSmqKasrK2tsbS0t7qs" +
    "ra+0vLm1x8/Ky9nZ29o8PT46PEBBPT5AQld/fH57dnZ0cm9xb2dmbG9kj6ujn4iZuLa3t7y4tru7uru7uLiunaCipquooqGkqbbU19nZHBwcFh" +
    "wdHBodHBsqWlFRUFNPTkpLTUc/R1BKT4aPmJaYlXenz8nJyMLLzc7Ozs/UybKzsrK0s7Gys7nG2tnX1iEpKSQpKyopJisnODlOUk9ATVNRT1JU" +
    "TlpdUFpqma2hoJlvdnmTz8rNy83LztHR0tDKysnIysjIzM3O1Nrb2tghICAbGxwfICMmHFdfVVtcWlpdWFlhX19iY2lMGFiOmJ6gp5Jhf8vJy8" +
    "vMysrNzc3Ny8zKzNDPz9HR09HV2NfXNS8tLCcjISEkHjB9hmxjamxlamljZWhnbXFtZVk2KYSll4+Cn8XFxsbHyMjIyMnJysjJxsrNzs/Q0dLT" +
    "09TU1EBFSEFBRD1FZXJjk4GDeXR6dXhyb2twdnRycGpfSChNhHaBkLfFwcLAw8XGxsbFxcbFxcbGyMjKzcfM0NDR0tQvNDhfg5OPnalnNVVcbG" +
    "5lYV9gVlJQTk1IQ0VEO0BdW4WEmaSpwr7Bw8LCwsLCxMPAwMLDwsXCwsrLzs/P0NLNIRwjMzQ2OUEzGSQvKDE/Pjk1OUFCRUdEPlBISVtrbGqB" +
    "gYCipcG7vLy7u77AvLq+u72+vb3AxMbKycjJzM/OsW0pJxIVIystJi08UGFNQ0NXT1o2LSonSlI4IiApUD8/aXWApqTCu7u7urm9vrq3vL29vr" +
    "7AwsTEurzHyM3LqJRYEwsAAQQfGQYGGzs9EAsJFzcgDQwPBQ8uDSMpKTtWSGFDZJqowb6/vr69vLq5uru9vb3Axr+lqJmowbu2lZCAKxINBwcD" +
    "DwkICAEfEAoYEgglHiIgIhIZNBksKjpJYF9ofniKtcC6vbi6vr29u7y8u73Ata+Rg3NphZiLinR3chcZDQkJBBURCwsFIh0RJBoMLSosJicWFz" +
    "cZOjhIUHOPiZ2Kvcm0urm6u7q7vL67ubqknZlvdXheZ3Z2aV5mXlQYGQ0GBQISDwoLBSMcEiIZCC8kHhwcFhVEKkJOXmSTnoGqz7eJmri2uLq8" +
    "vb25tqyadmliZWl9hWxXbF1oV2NdIB0cFxIPERIQCgEyJxAcIh5FPTI5PEhCSVtwe3pcd527wpWKkFybura3opmnkJWZblhQS1lvaXheUoV4bk" +
    "lkaB4WGxc3NDcdIicjPFtMTFBKRVhLTlJaVVyFiZOfjaXKo32Rr55kcHd8pHpydnR1c0MyMDZCVlU7QXZiYDs7S2Y1TVxLYmpjORgfGDhcWl9p" +
    "anSBgYyKlJCRi4B+bWRWdYanrpqXmohhb5B5ZlxZZmJGMC85O1A7LV57YTQgK0BTOVFhUDtdbnFnX2eFkY6NhIWCd2xcYE5CQUA/RDo1VZiwop" +
    "OSmJqVeF9mWUxHSUNGPz89PUlaWVNiZXlMMSs4OV5ba2M+SVllWx0hUFRFRTw1NUdIQUVJRj5ITlJTQ2mLm4yQkpOMgEU6ODUsIC4zMS46QkBN" +
    "TGhUTEZfcD06TFNOS0RUQzNLYEQ7KCxDREdHR0NDSkhLTk5TVmNmZWo6I4eal4yGiFs/QzY4LC86Ji0sMycqS0tDY1NiUmVtUFFFPyw6NERBUm" +
    "1da1xNV2JhWlFfYVphZGJqbW9ycnF4bVBVbI6EgGxpYE9ETkA8PSExNS4dPjs+QF9oTWFYcl9bNk5AMjI2QVZZXGBebGVlaXNoanJ0eXd1eH+A" +
    "fXp7cmtqVyRwemVxa0tLMDMyMDYaIiIjKEVQNjlENB4rUF9LOi5dRi0yMEBGP1VfVlFcXF9menx6foB8f3p6enl0cmxdVXBcYUlIWUk5MS9GLz" +
    "05IiMfJy0oOj8sIiIpEjU9TE8y",
  };

  function photo() {
    return Float64Array.from(atob(PHOTO.pixels), (letter) => letter.charCodeAt(0) / 255);
  }

  // ---------------------------------------------------------------- what is shown

  // The colours of the figures (alcl.paper.figures).
  const SHOWN = {
    mse: ["MSE", "#0072B2"],
    huber: ["Huber", "#009E73"],
    cauchy: ["Cauchy", "#999933"],
    welsch: ["Welsch", "#CC79A7"],
    alcl: ["ALCL", "#D55E00"],
    contaminated_alcl: ["contaminated ALCL", "#8C6BB1"],
  };
  const NAMES = Object.keys(SHOWN);
  const SLIDERS = [
    ["alpha", "shape α", 0.6, 6, 0.05, 1.5],
    ["beta", "scale β", 0.1, 4, 0.05, 1],
    ["kappa", "tail weight κ", 0.4, 4, 0.05, 1],
    ["eps", "contamination ε", 0.01, 0.6, 0.01, 0.1],
  ];
  const PANELS = [
    ["density", "density p(e)", (name, e, p) => density(name, e, p)],
    ["loss", "loss ρ(e)", (name, e, p) => losses[name].rho(e, p)],
    ["psi", "influence ψ(e)", (name, e, p) => losses[name].psi(e, p)],
    ["weight", "weight ψ(e)/e", (name, e, p) => losses[name].weight(e, p)],
  ];

  const STYLE = `
    :host { display: block; font: 15px/1.4 system-ui, sans-serif; color: inherit; margin: 1rem 0; }
    * { box-sizing: border-box; }
    h2 { font-size: 1.05rem; margin: 1.4rem 0 .5rem; }
    p { margin: .4rem 0; }
    .controls { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: .3rem 1.2rem; }
    label { display: block; }
    label output { float: right; font-variant-numeric: tabular-nums; }
    input[type=range] { width: 100%; accent-color: #D55E00; height: 1.6rem; margin: 0; }
    .buttons { display: flex; flex-wrap: wrap; gap: .4rem; margin: .6rem 0; }
    button { font: inherit; color: inherit; background: none; border: 1px solid currentColor; border-radius: 6px;
      padding: .25rem .7rem; cursor: pointer; min-height: 2rem; }
    button[aria-pressed=false] { border-style: dashed; text-decoration: line-through; }
    .swatch { display: inline-block; width: 1.1em; height: .3em; margin-right: .4em; vertical-align: middle; }
    .panels { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(280px, 100%), 1fr)); gap: .6rem; }
    figure { margin: 0; }
    figcaption { font-size: .87rem; font-weight: 600; }
    svg { width: 100%; display: block; overflow: hidden; }
    svg text { fill: currentColor; font-size: 11px; }
    .axis { stroke: currentColor; stroke-opacity: .35; }
    .point { fill: currentColor; cursor: grab; touch-action: none; }
    .point:focus { outline: none; stroke: #D55E00; stroke-width: 4px; }
    table { border-collapse: collapse; margin: .4rem 0; font-variant-numeric: tabular-nums; width: 100%; max-width: 28rem; }
    td, th { text-align: left; padding: .15rem .6rem .15rem 0; font-weight: normal; }
    td { text-align: right; }
    .pictures { display: grid; grid-template-columns: repeat(4, 1fr); gap: .6rem; margin-top: .6rem; }
    @media (max-width: 560px) { .pictures { grid-template-columns: repeat(2, 1fr); } }
    canvas { width: 100%; image-rendering: pixelated; display: block; border-radius: 4px; }
    small { font-size: .85rem; }`;

  const svg = (tag, attributes, parent) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (parent) parent.append(element);
    return element;
  };

  const html = (tag, properties, parent) => {
    const { attributes = {}, ...rest } = properties;
    const element = Object.assign(document.createElement(tag), rest);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (parent) parent.append(element);
    return element;
  };

  /** A slider with its label and value; `changed` is called while it moves. */
  function slider(parent, [name, text, min, max, step, value], changed) {
    const label = html("label", { textContent: text }, parent);
    const spelled = (number) => Number(number).toFixed(step < 1 ? 2 : 0);
    const shown = html("output", { textContent: spelled(value) }, label);
    const input = html("input", { type: "range", name, min, max, step }, label);
    input.value = value;
    input.addEventListener("input", () => {
      shown.textContent = spelled(input.value);
      changed();
    });
    return input;
  }

  function plot(parent, [id, title, value]) {
    const figure = html("figure", { attributes: { "data-panel": id } }, parent);
    html("figcaption", { textContent: title }, figure);
    const [w, h, left, bottom] = [320, 190, 34, 18];
    const root = svg("svg", { viewBox: `0 0 ${w} ${h}`, role: "img", "aria-label": title }, figure);
    const x = (e) => left + ((e + REACH) / (2 * REACH)) * (w - left - 4);
    return (p, visible) => {
      root.replaceChildren();
      const e = Array.from({ length: 401 }, (_, i) => -REACH + (2 * REACH * i) / 400);
      const curves = visible.map((name) => [name, e.map((each) => value(name, each, p))]);
      // The range is that of ALCL's curve and a little more, so that a parabola does not flatten all others.
      const own = curves.filter(([name]) => name === "alcl" || name === "cauchy").flatMap(([, y]) => y);
      const finite = (own.length ? own : curves.flatMap(([, y]) => y)).filter((y) => Number.isFinite(y));
      const most = Math.min(id === "psi" || id === "weight" ? 6 : 20, Math.max(0.1, ...finite) * 1.15);
      const least = id === "psi" ? -most : 0;
      const y = (v) => 6 + (1 - (Math.max(least - most, Math.min(2 * most, v)) - least) / (most - least)) * (h - bottom - 6);
      svg("line", { x1: left, x2: w - 4, y1: y(0), y2: y(0), class: "axis" }, root);
      svg("line", { x1: x(0), x2: x(0), y1: 6, y2: h - bottom, class: "axis" }, root);
      for (const tick of [-10, -5, 0, 5, 10]) {
        svg("text", { x: x(tick), y: h - 4, "text-anchor": tick === 10 ? "end" : "middle" }, root).textContent = tick;
      }
      for (const tick of id === "psi" ? [least / 1.15, 0, most / 1.15] : [0, most / 1.15]) {
        const text = svg("text", { x: left - 4, y: y(tick) + 4, "text-anchor": "end" }, root);
        text.textContent = Number(tick.toPrecision(2));
      }
      for (const [name, values] of curves) {
        if (id === "density" && !values.some((v) => v > 0)) continue;
        let path = "", pen = "M";
        values.forEach((v, i) => {
          if (!Number.isFinite(v)) v = 2 * most;
          path += `${pen}${x(e[i]).toFixed(1)},${y(v).toFixed(1)}`;
          pen = "L";
        });
        const attributes = { d: path, fill: "none", stroke: SHOWN[name][1], "stroke-width": name === "alcl" ? 3 : 1.7 };
        svg("path", { ...attributes, "data-curve": name }, root);
      }
    };
  }

  function build(host) {
    host.setAttribute("data-ready", "");
    const root = host.attachShadow({ mode: "open" });
    html("style", { textContent: STYLE }, root);

    const controls = html("div", { className: "controls" }, root);
    const inputs = SLIDERS.map((row) => slider(controls, row, () => draw()));
    const parameters = () => Object.fromEntries(inputs.map((input) => [input.name, Number(input.value)]));
    const note = html("p", { attributes: { "aria-live": "polite", "data-note": "" } }, root);
    const buttons = html("div", { className: "buttons", attributes: { role: "group", "aria-label": "losses" } }, root);
    const visible = new Set(NAMES);
    for (const name of NAMES) {
      const attributes = { "aria-pressed": "true", "data-loss": name };
      const button = html("button", { type: "button", attributes }, buttons);
      html("span", { className: "swatch", attributes: { style: `background:${SHOWN[name][1]}` } }, button);
      button.append(SHOWN[name][0]);
      button.addEventListener("click", () => {
        if (!visible.delete(name)) visible.add(name);
        button.setAttribute("aria-pressed", visible.has(name));
        draw();
      });
    }
    const panels = html("div", { className: "panels" }, root);
    const plots = PANELS.map((row) => plot(panels, row));

    // ------------------------------------------------ data to drag
    html("h2", { textContent: "Data, and where each loss puts their centre" }, root);
    html("p", { textContent: "Drag a point, or move it with the arrow keys. Delete or a double click takes it away; a " +
      "double click on the line adds one. The darker a point, the more ALCL lets it count." }, root);
    const [w, h, base] = [host.clientWidth < 560 ? 360 : 640, 165, 52]; // a finger needs as large a point as a mouse
    const attributes = { viewBox: `0 0 ${w} ${h}`, role: "group", "aria-label": "data points on a line" };
    const field = svg("svg", { ...attributes, "data-field": "" }, html("figure", {}, root));
    const across = (value) => 16 + ((value + REACH) / (2 * REACH)) * (w - 32);
    const back = (event) => {
      const box = field.getBoundingClientRect();
      const value = (((event.clientX - box.left) / box.width) * w - 16) / (w - 32) * 2 * REACH - REACH;
      return Math.max(-REACH, Math.min(REACH, Math.round(value * 100) / 100));
    };
    svg("rect", { x: 0, y: 0, width: w, height: h, fill: "transparent" }, field);
    svg("line", { x1: 16, x2: w - 16, y1: base, y2: base, class: "axis" }, field);
    for (let tick = -REACH; tick <= REACH; tick += 5) {
      svg("text", { x: across(tick), y: base + 28, "text-anchor": "middle" }, field).textContent = tick;
    }
    const marks = svg("g", {}, field), dots = svg("g", {}, field);
    const row = html("div", { className: "buttons" }, root);
    const start = [-1.6, -1.1, -0.7, -0.4, -0.1, 0.2, 0.5, 0.9, 1.4, 6.5, 8.2];
    let points = [];

    function add(value) {
      const dot = svg("circle", { cy: base, r: 9, class: "point", tabindex: 0, role: "slider" }, dots);
      dot.setAttribute("aria-valuemin", -REACH);
      dot.setAttribute("aria-valuemax", REACH);
      const point = { value, dot };
      points.push(point);
      const set = (to) => {
        point.value = Math.max(-REACH, Math.min(REACH, to));
        draw();
      };
      const drop = () => {
        if (points.length === 1) return; // something must be there to have a centre
        points = points.filter((each) => each !== point);
        dot.remove();
        draw();
      };
      dot.addEventListener("pointerdown", (event) => {
        dot.setPointerCapture(event.pointerId);
        event.preventDefault();
        dot.focus();
      });
      dot.addEventListener("pointermove", (event) => dot.hasPointerCapture(event.pointerId) && set(back(event)));
      dot.addEventListener("dblclick", (event) => {
        event.stopPropagation();
        drop();
      });
      dot.addEventListener("keydown", (event) => {
        const step = { ArrowLeft: -0.1, ArrowDown: -0.1, ArrowRight: 0.1, ArrowUp: 0.1, PageDown: -1, PageUp: 1 }[event.key];
        if (step) set(Math.round((point.value + step) * 100) / 100);
        else if (event.key === "Home") set(-REACH);
        else if (event.key === "End") set(REACH);
        else if (event.key === "Delete" || event.key === "Backspace") drop();
        else return;
        event.preventDefault();
      });
      return point;
    }

    field.addEventListener("dblclick", (event) => {
      add(back(event));
      draw();
    });
    const action = (text, name, run) => {
      const button = html("button", { type: "button", textContent: text, attributes: { "data-action": name } }, row);
      button.addEventListener("click", () => {
        run();
        draw();
      });
    };
    action("Add a point", "add", () => add(5).dot.focus());
    action("Remove the last", "remove", () => points.length > 1 && points.pop().dot.remove());
    action("Begin again", "reset", () => {
      for (const point of points) point.dot.remove();
      points = [];
      start.forEach(add);
      inputs.forEach((input, i) => {
        input.value = SLIDERS[i][5];
        input.previousElementSibling.textContent = SLIDERS[i][5].toFixed(2);
      });
    });
    const table = html("table", {}, root);
    html("caption", { textContent: "location estimates", attributes: { style: "text-align:left;font-weight:600" } }, table);
    const cells = {};
    for (const name of NAMES) {
      const line = html("tr", {}, table);
      const head = html("th", { scope: "row" }, line);
      html("span", { className: "swatch", attributes: { style: `background:${SHOWN[name][1]}` } }, head);
      head.append(name === "mse" ? "MSE (the mean)" : SHOWN[name][0]);
      cells[name] = html("td", { attributes: { "data-estimate": name } }, line);
    }

    function draw() {
      const p = parameters();
      const shown = NAMES.filter((name) => visible.has(name));
      plots.forEach((each) => each(p, shown));
      note.textContent =
        p.kappa * p.alpha <= 1
          ? "κα is at most 1: no density of ALCL exists, and nothing could be learned here."
          : `ALCL's influence is ${p.alpha >= 1 ? "bounded" : "not bounded (α < 1)"} and redescends; its tail index is κα − 1 = ` +
            `${(p.kappa * p.alpha - 1).toFixed(2)}. Beside a fraction ε of outliers, anywhere from −10 to 10, it ` +
            `falls like 1/|e| to the power ${(p.kappa * p.alpha + 1).toFixed(2)} instead of 1. Welsch is no likelihood and has no density.`;
      const x = points.map((point) => point.value);
      marks.replaceChildren();
      NAMES.forEach((name, i) => {
        const t = locate(name, x, p);
        cells[name].textContent = Number.isNaN(t) ? "none" : t.toFixed(3);
        cells[name].dataset.value = t;
        if (!visible.has(name) || Number.isNaN(t)) return;
        const [label, color] = SHOWN[name];
        svg("line", { x1: across(t), x2: across(t), y1: 12, y2: base + 40 + 13 * i, stroke: color, "stroke-width": 2 }, marks);
        const end = t > REACH - 2;
        const text = svg("text", { x: across(t) + (end ? -5 : 5), y: base + 44 + 13 * i }, marks);
        text.setAttribute("text-anchor", end ? "end" : "start");
        text.textContent = label;
      });
      const t = Number(cells.alcl.dataset.value);
      const weights = x.map((each) => losses.alcl.weight(Math.abs(each - t) || 1e-9, p));
      const top = Math.max(...weights.filter(Number.isFinite));
      points.forEach((point, i) => {
        point.dot.setAttribute("cx", across(point.value));
        point.dot.setAttribute("aria-valuenow", point.value);
        point.dot.setAttribute("aria-label", `datum ${i + 1} of ${points.length}`);
        point.dot.setAttribute("fill-opacity", (0.25 + 0.75 * Math.sqrt(Math.min(1, weights[i] / top))).toFixed(3));
      });
    }
    start.forEach(add);
    draw();

    // ------------------------------------------------ a photograph
    html("h2", { textContent: "One photograph, many noisy copies" }, root);
    html("p", { textContent: "Pixels turn black or white, and all of them get noise without a mean. MSE gives the mean of " +
      "the copies; ALCL learns its shape and scale with the picture (κ = 1)." }, root);
    const photoControls = html("div", { className: "controls" }, root);
    let waiting = false;
    const later = () => {
      if (!waiting) setTimeout(() => ((waiting = false), show()), 60);
      waiting = true;
    };
    const level = slider(photoControls, ["level", "noise", 0.05, 1, 0.05, 0.5], later);
    const count = slider(photoControls, ["copies", "copies", 5, 40, 1, 20], later);
    const clean = photo();
    const pictures = html("div", { className: "pictures" }, root);
    const canvases = ["truth", "copy", "mse", "alcl"].map((name) => {
      const figure = html("figure", { attributes: { "data-picture": name } }, pictures);
      const canvas = html("canvas", { width: PHOTO.width, height: PHOTO.height, attributes: { role: "img", "aria-label": name } }, figure);
      return [canvas, html("figcaption", {}, figure)];
    });
    const learned = html("p", { attributes: { "data-learned": "", "aria-live": "polite" } }, root);
    const credit = html("p", {}, root);
    html("small", { textContent: "Photograph: part of china.jpg of scikit-learn, by danielbuechele, CC BY 2.0." }, credit);

    function paint([canvas, caption], values, text) {
      const image = new ImageData(PHOTO.width, PHOTO.height);
      values.forEach((value, i) => {
        image.data.fill(Math.max(0, Math.min(255, Math.round(255 * value))), 4 * i, 4 * i + 3);
        image.data[4 * i + 3] = 255;
      });
      canvas.getContext("2d").putImageData(image, 0, 0);
      canvas.setAttribute("aria-label", text);
      caption.textContent = text;
    }

    function show() {
      const copies = spoil(clean, Number(level.value), Number(count.value));
      const average = mean(copies), own = repair(copies);
      const quality = (picture) => `${psnr(picture, clean).toFixed(1)} dB`;
      paint(canvases[0], clean, "the truth");
      paint(canvases[1], copies[0], `one of ${copies.length} copies`);
      paint(canvases[2], average, `MSE: ${quality(average)}`);
      paint(canvases[3], own.picture, `ALCL: ${quality(own.picture)}`);
      learned.textContent = `ALCL learned α = ${own.alpha.toFixed(2)} and β = ${own.beta.toFixed(3)}.`;
    }
    // Not before somebody can see it: it takes a moment.
    if ("IntersectionObserver" in globalThis) {
      new IntersectionObserver((entries, observer) => {
        if (!entries.some((entry) => entry.isIntersecting)) return;
        observer.disconnect();
        show();
      }).observe(pictures);
    } else show();
  }

  function start() {
    document.querySelectorAll(".alcl-explorer:not([data-ready])").forEach(build);
  }
  if (typeof document !== "undefined") {
    if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
    else start();
  }
  return { SHOWN, losses, density, logNormalizer, locate, spoil, mean, repair, psnr, start };
})();
