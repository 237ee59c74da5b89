// Reads /metrics once a second and draws it.
import {parse, Readings} from './metrics.js';
import {Plot} from './plot.js';
import * as settings from './settings.js';

const PERIOD = 1000;  // ms
const STATES = ['loading', 'ready', 'draining'];

const count = (value) => (value < 10 && !Number.isInteger(value) ? value.toFixed(1) : Math.round(value).toLocaleString('en'));
const percent = (value) => `${(100 * value).toFixed(value > 0 && value < 0.1 ? 1 : 0)} %`;
const duration = (seconds) =>
  seconds < 1 ? `${(1000 * seconds).toPrecision(seconds < 0.001 ? 2 : 3)} ms` : `${seconds.toFixed(2)} s`;
const gibibytes = (value) => `${value.toFixed(1)} GiB`;

// Names by --metrics_compat: vllm or both, trtllm.
const ENGINE_PLOTS = [
  {
    title: 'Tokens/s',
    series: ['written', 'read'],
    format: count,
    read: (r) => [
      r.rate('vllm:generation_tokens_total', 'trtllm_generation_tokens_total'),
      r.rate('vllm:prompt_tokens_total', 'trtllm_prompt_tokens_total'),
    ],
  },
  {
    title: 'Time to first token, mean',
    series: [''],
    format: duration,
    read: (r) => [r.mean('vllm:time_to_first_token_seconds', 'trtllm_time_to_first_token_seconds')],
  },
  {
    title: 'Time between tokens, mean',
    series: [''],
    format: duration,
    read: (r) => [r.mean('vllm:inter_token_latency_seconds', 'trtllm_time_per_output_token_seconds')],
  },
  {
    title: 'Requests',
    series: ['running', 'waiting'],
    format: count,
    read: (r) => [
      r.value('vllm:num_requests_running', 'trtllm_num_requests_running'),
      r.value('vllm:num_requests_waiting', 'trtllm_num_requests_waiting'),
    ],
  },
  {
    title: 'KV cache in use',
    series: [''],
    format: percent,
    top: 1,
    read: (r) => [r.value('vllm:kv_cache_usage_perc', 'trtllm_kv_cache_utilization')],
  },
];

// Drawn where the gauge is there, with a line for each GPU. `limit`: the gauge of the scale's end. `unit`: what is
// drawn as 1.
const GPU_PLOTS = [
  {title: 'GPU utilisation', gauge: 'nv_gpu_utilization', format: percent, top: 1},
  {
    title: 'GPU memory',
    gauge: 'nv_gpu_memory_used_bytes',
    limit: 'nv_gpu_memory_total_bytes',
    unit: 2 ** 30,
    format: gibibytes,
  },
  {
    title: 'GPU temperature',
    gauge: 'nv_gpu_temperature_celsius',
    format: (value) => `${value.toFixed(0)} °C`,
    top: 100,
  },
  {
    title: 'GPU power',
    gauge: 'nv_gpu_power_usage',
    limit: 'nv_gpu_power_limit',
    format: (value) => `${value.toFixed(0)} W`,
  },
];

export class Monitor {
  constructor(parent, {onState, onModel}) {
    this.parent = parent;
    this.onState = onState;
    this.onModel = onModel;
    this.plots = ENGINE_PLOTS.map((spec) => ({plot: new Plot(parent, spec), read: spec.read}));
    this.gpus = new Map();  // by gauge
  }

  start() {
    this.#tick();
    setInterval(() => document.hidden || this.#tick(), PERIOD);
  }

  async #tick() {
    if (this.reading) return;  // the last one is still under way
    this.reading = true;
    try {
      const response = await fetch('metrics', {headers: settings.headers(), cache: 'no-store'});
      if (response.ok) this.#draw(parse(await response.text()));
      else this.onState(response.status === 401 ? 'metrics need the key' : `status ${response.status}`);
    } catch {
      this.onState('unreachable');
    }
    this.reading = false;
  }

  #draw(samples) {
    const time = performance.now();
    const readings = new Readings(samples, this.samples, (time - this.time) / 1000);
    this.samples = samples;
    this.time = time;
    this.onState(STATES[readings.value('sluice_engine_state')] ?? 'unknown');
    this.onModel(samples.get('sluice_engine_state')?.[0].labels.model_name ?? '');
    for (const {plot, read} of this.plots) plot.push(read(readings));
    for (const spec of GPU_PLOTS) this.#drawGpu(spec, samples);
  }

  #drawGpu(spec, samples) {
    const found = samples.get(spec.gauge);
    if (!found) return;
    const unit = spec.unit ?? 1;
    if (!this.gpus.has(spec.gauge)) {
      const series = found.length > 1 ? found.map((_, i) => `GPU ${i}`) : [''];
      const top = spec.top ?? (samples.get(spec.limit)?.[0].value ?? 0) / unit;
      this.gpus.set(spec.gauge, new Plot(this.parent, {...spec, series, top}));
    }
    this.gpus.get(spec.gauge).push(found.map((sample) => sample.value / unit));
  }
}
