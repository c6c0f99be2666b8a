#include "napi/worker.h"

#include <chrono>

#include "napi/convert.h"

namespace m2::napi {

struct Worker::Job {
  Napi::Promise::Deferred deferred;
  std::function<Begun()> begin;
  bool alone = false;  // begins when all before it is done
  Begun begun{};
  std::exception_ptr error{};  // why it did not begin

  void start() {
    try {
      begun = begin();
    } catch (...) {
      error = std::current_exception();
    }
  }
  bool ready() {
    try {
      return error || begun.ready();
    } catch (...) {
      return true;  // `result` will throw it
    }
  }
  Result result() {
    if (error) std::rethrow_exception(error);
    return begun.finish();
  }
};

namespace {
// How long the thread sleeps between two looks at whether a device is done.
constexpr auto kGlance = std::chrono::microseconds(50);
void stop_worker(void* worker) { static_cast<Worker*>(worker)->stop(); }
}  // namespace

Worker::Worker(Napi::Env env) : env_(env), channel_(Channel::New(env, "m2", 0, 1, this)) {
  channel_.Unref(env);
  napi_add_env_cleanup_hook(env, stop_worker, this);
  thread_ = std::thread([this] { loop(); });
}

Worker::~Worker() {
  if (!stopped_) stop();
}

void Worker::stop() {
  if (stopped_) return;
  stopped_ = true;
  napi_remove_env_cleanup_hook(env_, stop_worker, this);
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  thread_.join();
  channel_.Abort();
  // Dropped jobs may hold the last reference to this worker's owner: nothing of the worker is touched after these die.
  const auto waiting = std::move(waiting_);
  const auto undelivered = std::move(undelivered_);
}

Napi::Promise Worker::begin(Napi::Env env, std::function<Begun()> begin) {
  return add(std::make_unique<Job>(Job{Napi::Promise::Deferred::New(env), std::move(begin)}));
}

Napi::Promise Worker::run(Napi::Env env, std::function<Result()> work) {
  auto job = std::make_unique<Job>(Job{Napi::Promise::Deferred::New(env), [work = std::move(work)]() -> Begun {
                                         return {[] { return true; }, [result = work()] { return result; }};
                                       }});
  job->alone = true;
  return add(std::move(job));
}

Napi::Promise Worker::add(std::unique_ptr<Job> job) {
  Napi::Promise promise = job->deferred.Promise();
  if (in_flight_++ == 0) channel_.Ref(env_);
  {
    std::lock_guard lock(mutex_);
    waiting_.push_back(std::move(job));
  }
  wake_.notify_one();
  return promise;
}

void Worker::report(std::function<void(Napi::Env)> report) { send(std::make_unique<Message>(Message{std::move(report), false})); }

void Worker::loop() {
  std::deque<std::shared_ptr<Job>> begun;
  const auto settle_oldest = [&] {
    std::shared_ptr<Job> job = std::move(begun.front());
    begun.pop_front();
    settle(std::move(job));
  };
  for (;;) {
    if (begun.size() == kBegun || (!begun.empty() && begun.front()->ready())) {
      settle_oldest();
      continue;
    }
    std::shared_ptr<Job> job;
    {
      std::unique_lock lock(mutex_);
      const auto called = [this] { return stopping_ || !waiting_.empty(); };
      if (begun.empty()) wake_.wait(lock, called);
      else wake_.wait_for(lock, kGlance, called);
      if (stopping_) break;
      if (waiting_.empty()) continue;
      job = std::move(waiting_.front());
      waiting_.pop_front();
    }
    while (job->alone && !begun.empty()) settle_oldest();
    job->start();
    begun.push_back(std::move(job));
  }
  while (!begun.empty()) settle_oldest();
}

void Worker::settle(std::shared_ptr<Job> job) {
  std::function<void(Napi::Env)> deliver;
  try {
    deliver = [job, result = job->result()](Napi::Env env) { job->deferred.Resolve(result(env)); };
  } catch (...) {
    deliver = [job, thrown = std::current_exception()](Napi::Env env) { job->deferred.Reject(js_error(env, thrown).Value()); };
  }
  job.reset();  // the message now holds the last reference, and dies on the JavaScript thread
  send(std::make_unique<Message>(Message{std::move(deliver), true}));
}

void Worker::send(std::unique_ptr<Message> message) {
  if (channel_.NonBlockingCall(message.get()) == napi_ok) {
    message.release();
    return;
  }
  std::lock_guard lock(mutex_);
  undelivered_.push_back(std::move(message));
}

void Worker::on_message(Napi::Env env, Napi::Function, Worker* worker, Message* raw) {
  const std::unique_ptr<Message> message(raw);
  if (env == nullptr) return;  // the environment is going away
  if (message->ends_job && --worker->in_flight_ == 0) worker->channel_.Unref(env);
  try {
    message->deliver(env);
  } catch (const Napi::Error& error) {
    // Of a callback that threw: for JavaScript to see. Where the environment is being terminated nothing can be thrown any more, nor need it be.
    napi_throw(env, error.Value());
  }
}

}  // namespace m2::napi
