// Jobs a second through BullMQ on PostgreSQL: `node rate.cjs URL IN_FLIGHT SECONDS BACKLOG`.
const { Queue, Worker, createPostgresBackend } = require("bullmq");

const WARM_UP_MS = 1000;
const BULK = 1000;

async function main(url, inFlight, seconds, backlog) {
  const connection = { connectionString: url, schema: "bullmq", migrate: true, max: 20 };
  // What an earlier process left behind isn't this one's.
  const name = `bench-${process.pid}`;
  const queue = new Queue(name, { connection }, createPostgresBackend);
  await queue.waitUntilReady();
  for (let left = backlog; left > 0; left -= BULK) {
    await queue.addBulk(Array.from({ length: Math.min(left, BULK) }, () => ({ name: "job", data: { n: 0 } })));
  }
  const worker = new Worker(name, async () => {}, { connection, concurrency: inFlight }, createPostgresBackend);
  await worker.waitUntilReady();

  let done = 0;
  const fail = (error) => {
    console.error(error);
    process.exit(1);
  };
  const add = () => queue.add("job", { n: done }).catch(fail);
  worker.on("error", fail);
  worker.on("completed", () => {
    done += 1;
    if (backlog === 0) add();
    else if (done === backlog) fail("the backlog ran out");
  });
  if (backlog === 0) for (let n = 0; n < inFlight; n += 1) add();

  const after = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
  await after(WARM_UP_MS);
  const [doneBefore, began] = [done, performance.now()];
  await after(seconds * 1000);
  console.log(((done - doneBefore) * 1000) / (performance.now() - began));
  process.exit(0);
}

const [url, ...numbers] = process.argv.slice(2);
main(url, ...numbers.map(Number));
