// BullMQ on Redis: `node redis.cjs URL MEASURE IN_FLIGHT SECONDS JOBS`. benches/peers/README.md says what is measured.
const { Queue, Worker } = require("bullmq");

const WARM_UP_MS = 1000;
const BULK = 1000;
const PICK_UP_EVERY_MS = 10;
const DATA = { text: "x".repeat(189) }; // 200 bytes as JSON.

const after = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

const fail = (error) => {
  console.error(error);
  process.exit(1);
};

// How many a second, of what `count` counts.
async function rate(seconds, count) {
  await after(WARM_UP_MS);
  const [before, began] = [count(), performance.now()];
  await after(seconds * 1000);
  return ((count() - before) * 1000) / (performance.now() - began);
}

async function main(url, measure, inFlight, seconds, jobs) {
  const connection = { url };
  const queue = new Queue("bench", { connection });
  await queue.waitUntilReady();

  let [added, done] = [0, 0];
  const add = async () => {
    await queue.add("job", DATA);
    added += 1;
  };
  const bulk = async (size) => {
    await queue.addBulk(Array.from({ length: size }, () => ({ name: "job", data: DATA })));
    added += size;
  };
  const fill = async () => {
    while (added < jobs) await bulk(Math.min(jobs - added, BULK));
  };
  // So many callers, each of whom goes on while there is more to do.
  const callers = (call, more) => {
    const caller = async () => {
      while (more()) await call();
    };
    return Promise.all(Array.from({ length: inFlight }, caller)).catch(fail);
  };
  const work = async (run, ended) => {
    // Nothing of what has ended is kept, as livecode does.
    const worker = new Worker("bench", run, { connection, concurrency: inFlight, removeOnComplete: { count: 0 } });
    worker.on("error", fail);
    worker.on("completed", () => {
      done += 1;
      ended();
    });
    await worker.waitUntilReady();
  };

  switch (measure) {
    case "add":
      callers(add, () => true);
      return [await rate(seconds, () => added)];
    case "bulk":
      callers(() => bulk(BULK), () => true);
      return [await rate(seconds, () => added)];
    case "fill":
      await fill();
      return [added];
    case "processed":
      await fill();
      await work(async () => {}, () => done === jobs && fail("the backlog ran out"));
      return [await rate(seconds, () => done)];
    case "flow":
      await work(async () => {}, () => add().catch(fail));
      for (let n = 0; n < inFlight; n += 1) add().catch(fail);
      return [await rate(seconds, () => done)];
    case "counted": {
      let left = jobs;
      await callers(add, () => left-- > 0);
      await new Promise((resolve) => work(async () => {}, () => done === jobs && resolve()).catch(fail));
      return [done];
    }
    case "pickup": {
      // Milliseconds from before one is added until it begins, where nothing else is to be done.
      let begun, ended;
      await work(async () => (begun = performance.now()), () => ended());
      const times = [];
      const measuredFrom = performance.now() + WARM_UP_MS;
      while (performance.now() < measuredFrom + seconds * 1000) {
        const end = new Promise((resolve) => (ended = resolve));
        const began = performance.now();
        await add();
        await end;
        if (began > measuredFrom) times.push(begun - began);
        await after(PICK_UP_EVERY_MS);
      }
      times.sort((a, b) => a - b);
      return [50, 99].map((percent) => times[Math.floor(((times.length - 1) * percent) / 100)]);
    }
    default:
      throw new Error(`no such measure: ${measure}`);
  }
}

const [url, measure, ...numbers] = process.argv.slice(2);
main(url, measure, ...numbers.map(Number)).then((figures) => {
  console.log(figures.join(" "));
  process.exit(0);
}, fail);
